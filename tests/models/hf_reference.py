"""Random tiny models of `transformers` (torch), and what they compute.

The reference side of the parity tests and of `make_golden.py`. Torch is imported inside
the functions: the golden tests take the names from here where torch is absent.
"""

import json

import numpy as np

# Small, all sizes different from each other, head_dim not d_model / num_heads.
SIZES = {
  "vocab_size": 40,
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "head_dim": 8,
  "max_position_embeddings": 128,
}
ROPE = {"rope_type": "default", "rope_theta": 500.0}
LLAMA3_ROPE = {
  "rope_type": "llama3",
  "rope_theta": 500.0,
  "factor": 4.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  # Short, so that of the four frequencies one is kept, one blended, two stretched.
  "original_max_position_embeddings": 64,
}
YARN_ROPE = {
  "rope_type": "yarn",
  "rope_theta": 500.0,
  "factor": 4.0,
  "original_max_position_embeddings": 32,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 900.0, "factor": 3.0}
WINDOW = 5  # shorter than the example rows
MODELS = {
  "qwen2_tied": ("Qwen2", {"tie_word_embeddings": True, "rope_parameters": ROPE}),
  "qwen2_untied": ("Qwen2", {"tie_word_embeddings": False, "rope_parameters": ROPE}),
  "qwen3": ("Qwen3", {"tie_word_embeddings": True, "rope_parameters": ROPE}),
  "llama": ("Llama", {"tie_word_embeddings": False, "rope_parameters": ROPE}),
  "llama3_rope": (
    "Llama",
    {"tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE, "rms_norm_eps": 1e-3},
  ),
  "qwen2_yarn": ("Qwen2", {"rope_parameters": YARN_ROPE}),
  "qwen2_window": (
    "Qwen2",
    {
      "use_sliding_window": True,
      "sliding_window": WINDOW,
      "max_window_layers": 1,
      "rope_parameters": ROPE,
    },
  ),
  "mistral": ("Mistral", {"sliding_window": WINDOW, "rope_parameters": ROPE}),
  "mistral_whole": ("Mistral", {"sliding_window": None, "rope_parameters": ROPE}),
  "gemma3": (
    "Gemma3",
    {
      "query_pre_attn_scalar": 5,
      "pad_token_id": None,  # whose embedding torch would give no gradient
      "sliding_window": WINDOW,
      "layer_types": ["sliding_attention", "full_attention"],
      "rope_parameters": {
        "full_attention": LINEAR_ROPE,
        "sliding_attention": {"rope_type": "default", "rope_theta": 200.0},
      },
    },
  ),
}


def example_tokens() -> np.ndarray:
  """[2, 21] token ids; 21 is not a multiple of anything in the model."""
  rng = np.random.default_rng(0)
  return rng.integers(0, SIZES["vocab_size"], (2, 21)).astype(np.int32)


def build(name: str):
  """A float32 torch model of MODELS with every parameter moved off its initial value."""
  import transformers

  family, settings = MODELS[name]
  kind = "Gemma3Text" if family == "Gemma3" else family
  config = getattr(transformers, f"{kind}Config")(**SIZES, **settings)
  config._attn_implementation = "eager"
  return _moved(getattr(transformers, f"{family}ForCausalLM"), config, name)


def build_with_pictures(name: str):
  """As `build`, of an architecture that also sees pictures: 'gemma3' or 'mistral3'."""
  import transformers

  family = {"gemma3": "Gemma3", "mistral3": "Mistral3"}[name]
  alone = {"gemma3": "gemma3", "mistral3": "mistral"}[name]
  whole = getattr(transformers, f"{family}Config")
  config = whole(
    text_config={**whole().text_config.to_dict(), **SIZES, **MODELS[alone][1]},
    vision_config={
      **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1},
      **{"num_attention_heads": 2, "head_dim": 8, "image_size": 28, "patch_size": 14},
    },
    tie_word_embeddings=name == "gemma3",
    attn_implementation="eager",
  )
  return _moved(getattr(transformers, f"{family}ForConditionalGeneration"), config, name)


def _moved(make, config, name: str):
  """A random model, no parameter of which has its initial value."""
  import torch

  torch.manual_seed(sum(name.encode()))
  model = make(config).float().eval()
  with torch.no_grad():
    for parameter in model.parameters():
      # Norms start at 1 and biases at 0: a model that forgot them would pass.
      parameter.add_(0.2 * torch.randn_like(parameter))
  return model


def evaluate(model, tokens: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """(logits [B, T, V], gradient of `loss` with respect to each tensor by name)."""
  import torch

  ids = torch.tensor(tokens, dtype=torch.long)
  logits = model(ids).logits
  logprobs = torch.log_softmax(logits[:, :-1].float(), dim=-1)
  chosen = logprobs.gather(-1, ids[:, 1:, None])[..., 0]
  weights = torch.tensor(loss_weights(chosen.shape))
  model.zero_grad()
  (chosen * weights).sum().backward()
  grads = {n: p.grad.numpy().copy() for n, p in model.named_parameters()}
  return logits.detach().numpy(), grads


def loss_weights(shape: tuple[int, ...]) -> np.ndarray:
  """Weights of both signs for the sum of log-probs, so that no gradient cancels out."""
  return np.cos(np.arange(np.prod(shape))).reshape(shape).astype(np.float32)


def summary(gradient: np.ndarray) -> np.ndarray:
  """[2]: L2 norm, and the product with a fixed vector (order and sign matter)."""
  flat = gradient.reshape(-1).astype(np.float64)
  return np.array([np.linalg.norm(flat), flat @ np.cos(np.arange(flat.size))])


def config_json(config: dict) -> str:
  """The part of a config.json that describes the model, as sorted text."""
  keys = {*SIZES, "architectures", "rope_parameters", "tie_word_embeddings"}
  keys |= {"rms_norm_eps", "hidden_act", "attention_bias", "mlp_bias"}
  keys |= {"use_sliding_window", "sliding_window", "max_window_layers", "layer_types"}
  keys |= {"hidden_activation", "query_pre_attn_scalar"}
  return json.dumps({k: config[k] for k in sorted(keys & config.keys())})
