import pytest

from skilljax.engine.settings import EngineSettings, bucket_for


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"num_slots": 0}, r"engine\.num_slots must be >= 1, got 0"),
    ({"max_len": 1}, r"engine\.max_len must be >= 2, got 1"),
    ({"decode_chunk": 0}, r"engine\.decode_chunk must be >= 1, got 0"),
    ({"attend_buckets": (64, 32)}, r"engine\.attend_buckets .* got \(64, 32\)"),
    ({"attend_buckets": (32, 32)}, r"engine\.attend_buckets .* strictly increasing"),
    ({"extend_buckets": ()}, r"engine\.extend_buckets .* got \(\)"),
    ({"extend_buckets": (0, 8)}, r"engine\.extend_buckets .* got \(0, 8\)"),
    ({"extend_buckets": (769,)}, r"engine\.extend_buckets must not exceed 768"),
    ({"row_buckets": (65,)}, r"engine\.row_buckets must not exceed 64, got \(65,\)"),
    ({"decode_rows": (0, 8)}, r"engine\.decode_rows .* got \(0, 8\)"),
    ({"decode_rows": (65,)}, r"engine\.decode_rows must not exceed 64, got \(65,\)"),
    ({"exit_fraction": 0.0}, r"engine\.exit_fraction must be in \(0, 1\], got 0.0"),
    ({"top_k": -1}, r"engine\.top_k must be >= 0"),
    ({"top_p": 0.0}, r"engine\.top_p must be in \(0, 1\], got 0.0"),
    ({"top_p": 1.5}, r"engine\.top_p must be in \(0, 1\], got 1.5"),
  ],
)
def test_errors_name_the_key(change, message):
  with pytest.raises(ValueError, match=message):
    EngineSettings(**change)


def test_attend_lengths_end_at_max_len():
  settings = EngineSettings(max_len=300, attend_buckets=(128, 256, 512))
  assert settings.attend_lengths == (128, 256, 300)
  assert EngineSettings(max_len=256, attend_buckets=(256,)).attend_lengths == (256,)


def test_bucket_for():
  assert [bucket_for(n, (4, 16)) for n in (1, 4, 5, 16, 99)] == [4, 4, 16, 16, 16]
