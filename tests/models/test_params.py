import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import params as params_lib


def test_parameters_follow_the_specs(cfg):
  specs = params_lib.param_specs(cfg)
  params = params_lib.init_params(jax.random.key(1), cfg)
  jax.tree.map(
    lambda spec, a: np.testing.assert_equal(a.shape, spec.shape), specs, params
  )
  assert sum(a.size for a in jax.tree.leaves(params)) == cfg.num_params
  assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  np.testing.assert_array_equal(params["layers"]["q_norm"], np.ones((2, 4)))
  np.testing.assert_array_equal(params["layers"]["bk"], np.zeros((2, 2, 4)))
  # 0.02 / sqrt(2·2 layers) into the residual stream; 2 · 28 · 20 draws.
  assert np.std(params["layers"]["w_down"]) == pytest.approx(0.01, rel=0.1)
  assert np.std(params["layers"]["w_up"]) == pytest.approx(0.02, rel=0.1)
  # Each parameter has its own key.
  assert not np.allclose(params["layers"]["wk"], params["layers"]["wv"])


def test_unstack_layers_keeps_values_and_casts(cfg, params):
  decode = params_lib.unstack_layers(params)
  assert len(decode["layers"]) == cfg.num_layers
  np.testing.assert_array_equal(decode["layers"][1]["wq"], params["layers"]["wq"][1])
  cast = params_lib.unstack_layers(params, "bfloat16")
  assert {a.dtype for a in jax.tree.leaves(cast)} == {jnp.dtype("bfloat16")}


def test_a_spec_names_each_axis():
  with pytest.raises(ValueError, match="axes"):
    params_lib.ParamSpec((2, 3), ("embed",))
