"""Devices that are not there: those of a TPU topology, from the compiler's own library.

Must not know about: configs, models.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from skilljax import sharding
from skilljax.fit.chips import Topology
from skilljax.sharding import MeshSettings

# Else the library looks for a machine that it could belong to, for minutes.
_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nobody's chips are opened
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_WORKER_ID": "0",
}


def devices_of(topology: Topology) -> Sequence[jax.Device]:
  """The chips of a TPU topology, in hosts of four; programs can be compiled for them.

  Raises:
    ModuleNotFoundError: the compiler is not installed.
    ValueError: there is no such topology.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise ModuleNotFoundError(
      f"topology={topology.name!r} needs the TPU compiler, package libtpu: "
      "pip install -e '.[tpu]' (Linux on x86-64; no TPU is needed)"
    )
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  try:
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology.name)
  except jax.errors.JaxRuntimeError as error:
    raise ValueError(
      f"topology={topology.name!r} is unknown to the compiler; sizes must be multiples "
      f"of a host's 2x2 chips (flag --topology): {str(error).splitlines()[0]}"
    ) from error
  return found.devices


def first_host(topology: Topology) -> Sequence[jax.Device]:
  """The chips of one host of a topology.

  Of several hosts as if there were no other: the compiler refuses a program of some chips
  whose numbers have gaps, which those of a host have in a wide slice (0, 1, 4, 5).

  Raises:
    ModuleNotFoundError, ValueError: as `devices_of`.
  """
  devices = devices_of(topology)
  own = [d for d in devices if d.process_index == devices[0].process_index]
  if len(own) == len(devices):
    return own
  corners = [max(axis) + 1 for axis in zip(*(d.coords for d in own), strict=True)]
  alone = dataclasses.replace(topology, sizes=tuple(corners[: len(topology.sizes)]))
  return devices_of(alone)


def make_mesh(settings: MeshSettings, devices: Sequence[jax.Device], key: str) -> Mesh:
  """A mesh over the first of some devices, as training would make it.

  Args:
    settings: its sizes.
    devices: of the topology, or of one of its hosts.
    key: section of the config, for the message.
  Raises:
    ValueError: it needs more devices, or would leave hosts without work.
  """
  sizes = {name: vars(settings)[name] for name in sharding.MESH_AXES}
  shown = " x ".join(f"{key}.{name}={size}" for name, size in sizes.items())
  if settings.num_devices > len(devices):
    raise ValueError(
      f"{shown} needs {settings.num_devices} chips, there are {len(devices)} (config "
      f"keys {key}.*, flag --topology)"
    )
  hosts = {device.process_index for device in devices}
  if len(hosts) > 1 and settings.num_devices != len(devices):
    raise ValueError(
      f"{shown} must take all {len(devices)} chips of the {len(hosts)} hosts (config "
      f"keys {key}.*, flag --topology)"
    )
  return sharding.make_mesh(**sizes, devices=devices)
