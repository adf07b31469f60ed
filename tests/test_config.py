import dataclasses
import typing

import ml_collections
import pytest

from skilljax import config as config_lib


@dataclasses.dataclass(frozen=True)
class Optimizer:
  learning_rate: float
  betas: tuple[float, float] = (0.9, 0.95)


@dataclasses.dataclass(frozen=True)
class Settings:
  num_slots: int
  temperature: float = 1.0
  buckets: tuple[int, ...] = (32, 64)
  mode: typing.Literal["joint", "dual"] = "dual"
  top_k: int | None = 5
  optimizer: Optimizer | None = None
  weights: dict[str, float] = dataclasses.field(default_factory=dict)
  vocab_size: int = 0

  def __post_init__(self):
    if self.num_slots < 1:
      raise ValueError(f"num_slots = {self.num_slots} must be >= 1")


def section(**values):
  return ml_collections.ConfigDict(values)


def build(**values):
  return config_lib.build(Settings, section(**values), prefix="engine")


def test_build_reads_nested_dataclasses_and_takes_defaults():
  settings = build(
    num_slots=4,
    temperature=2,
    buckets=[8],
    optimizer={"learning_rate": 1e-3},
    weights={"act": 1},
  )
  assert settings == Settings(
    num_slots=4,
    temperature=2.0,
    buckets=(8,),
    optimizer=Optimizer(learning_rate=1e-3),
    weights={"act": 1.0},
  )
  assert type(settings.temperature) is float
  with pytest.raises(dataclasses.FrozenInstanceError):
    settings.num_slots = 5


def test_none_takes_the_default_of_the_field():
  assert build(num_slots=4, temperature=None, top_k=None) == Settings(num_slots=4)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"num_slots": 4, "temprature": 1.0}, r"engine\.temprature = 1\.0.*mean temperature"),
    ({}, r"engine\.num_slots is missing.*type int"),
    ({"num_slots": None}, r"engine\.num_slots is missing"),
    ({"num_slots": "4"}, r"engine\.num_slots = '4' has type str; it must be int"),
    ({"num_slots": True}, r"has type bool; it must be int"),
    ({"num_slots": 4, "temperature": True}, r"has type bool; it must be float"),
    ({"num_slots": 4, "buckets": (1, 2.5)}, r"engine\.buckets\[1\] = 2\.5"),
    ({"num_slots": 4, "mode": "dul"}, r"engine\.mode = 'dul'.*'joint', 'dual'"),
    ({"num_slots": 0}, r"section engine: num_slots = 0 must be >= 1"),
    ({"num_slots": 4, "optimizer": {"lr": 1.0}}, r"engine\.optimizer\.lr = 1\.0"),
    (
      {"num_slots": 4, "optimizer": {"learning_rate": 1.0, "betas": (1.0,)}},
      r"engine\.optimizer\.betas = \(1\.0,\)",
    ),
  ],
)
def test_build_refuses(values, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    build(**values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
  with pytest.raises(config_lib.ConfigError, match=r"x.rate = -?(nan|inf) must be a"):
    config_lib.cast(value, float, "x.rate")


def test_given_fields_are_not_for_the_config():
  settings = config_lib.build(
    Settings, section(num_slots=1), prefix="engine", vocab_size=7
  )
  assert settings.vocab_size == 7
  with pytest.raises(config_lib.ConfigError, match=r"engine\.vocab_size = 9"):
    config_lib.build(
      Settings, section(num_slots=1, vocab_size=9), prefix="engine", vocab_size=7
    )


def test_reader_lists_what_nothing_read():
  config = section(seed=3, engine={"num_slots": 2}, rl={"lam": 0.2, "off": None})
  reader = config_lib.Reader(config)
  assert reader.build(Settings, "engine").num_slots == 2
  with pytest.raises(config_lib.ConfigError) as error:
    reader.assert_all_read()
  text = str(error.value)
  assert "seed = 3" in text and "rl.lam = 0.2" in text and "None" in text
  assert "engine" not in text and "rl.off" not in text
  assert reader.get("seed") == 3
  assert reader.get("rl").lam == 0.2
  reader.assert_all_read()


def test_reader_is_a_frozen_copy():
  config = section(a=1)
  reader = config_lib.Reader(config)
  config.a = 2
  assert reader.get("a") == 1
  with pytest.raises(AttributeError):
    reader.config.a = 3


def test_reader_names_the_nearest_key():
  reader = config_lib.Reader(section(rl={"edit_weight": 0.2}))
  with pytest.raises(config_lib.ConfigError, match=r"did you mean rl\.edit_weight"):
    reader.get("rl.edit_wieght")


def test_parse_arg():
  parsed = config_lib.parse_arg("debug, chips=8", debug=False, chips=1, name="x")
  assert (parsed.debug, parsed.chips, parsed.name) == (True, 8, "x")
  assert config_lib.parse_arg(None, debug=False).debug is False
  assert config_lib.parse_arg("debug=false", debug=True).debug is False
  for arg in ("debgu", "chips=many", "debug=1"):
    with pytest.raises(config_lib.ConfigError):
      config_lib.parse_arg(arg, debug=False, chips=1)


CONFIG_FILE = """
import ml_collections
from skilljax import config as config_lib

def get_config(arg=None):
  arg = config_lib.parse_arg(arg, debug=False)
  config = ml_collections.ConfigDict()
  config.rl = ml_collections.ConfigDict({"steps": 2 if arg.debug else 60, "rate": 0.5})
  config.buckets = (8, 16)
  return config.lock()
"""


@pytest.fixture
def config_file(tmp_path):
  path = tmp_path / "small.py"
  path.write_text(CONFIG_FILE)
  return str(path)


def test_load_takes_variants_and_overrides(config_file):
  assert config_lib.load(config_file).rl.steps == 60
  config = config_lib.load(f"{config_file}:debug", {"rl.rate": 0.25, "buckets": (4,)})
  assert config.rl.to_dict() == {"steps": 2, "rate": 0.25}
  assert config.buckets == (4,)
  assert config.is_locked


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    ({"rl.rat": 1.0}, r"rl\.rat=1\.0.*did you mean rl\.rate"),
    ({"rl.steps": "many"}, r"rl\.steps='many'.*type"),
  ],
)
def test_load_refuses_overrides(config_file, overrides, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    config_lib.load(config_file, overrides)


def test_load_names_a_missing_file(tmp_path):
  with pytest.raises(config_lib.ConfigError, match="does not exist"):
    config_lib.load(str(tmp_path / "absent.py:debug"))
  empty = tmp_path / "empty.py"
  empty.write_text("x = 1\n")
  with pytest.raises(config_lib.ConfigError, match="no get_config"):
    config_lib.load(str(empty))


def test_fingerprint_follows_content_only():
  first = section(a=1, b={"c": (1, 2)})
  same = section(b={"c": [1, 2]}, a=1)
  assert config_lib.to_json(first) == config_lib.to_json(same)
  assert config_lib.fingerprint(first) == config_lib.fingerprint(same)
  assert config_lib.fingerprint(first) != config_lib.fingerprint(section(a=1, b={"c": 1}))
  assert config_lib.to_json({"b": 1, "a": 2}) == config_lib.to_json({"a": 2, "b": 1})
  with pytest.raises(config_lib.ConfigError, match="not plain data"):
    config_lib.to_json(section(a=object()))
