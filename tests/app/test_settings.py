"""Settings: honoured, refused, and never silently mistyped."""

import pytest

from app.settings import Settings, SettingsError, read_settings


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return read_settings()


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        EMBED_MODEL="jinaai/jina-embeddings-v3",
        EMBED_DEVICES="cuda:0, cuda:1",
        EMBED_MAX_BATCH_TOKENS="4096",
        EMBED_SERVED_MODEL_NAMES="a,b",
        EMBED_DEFAULT_TASK="none",
    )
    assert settings.devices == ("cuda:0", "cuda:1")
    assert settings.max_batch_tokens == 4096
    assert settings.served_model_names == ("a", "b")


def test_a_mistyped_variable_is_refused_with_the_right_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match=r"EMBED_DEVICE\. Did you mean EMBED_DEVICES\?"):
        read(monkeypatch, EMBED_DEVICE="cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMBED_PORT", "http"),
        ("EMBED_PORT", "70000"),
        ("EMBED_DTYPE", "int8"),
        ("EMBED_MAX_BATCH_TOKENS", "0"),
        ("EMBED_MAX_BATCH_TOKENS", "131071"),
        ("EMBED_DEVICES", ","),
        ("EMBED_DRAIN_DELAY_S", "-1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        read(monkeypatch, **{name: value})
