"""Settings: honoured, refused, and never silently mistyped."""

import pytest

from app.settings import Settings, SettingsError, check_servable, read_settings


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


def test_a_setting_that_was_removed_is_named_with_the_one_to_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = r"unknown setting EMBED_MAX_CONCURRENT_TOKENS\. It was removed; take EMBED_MAX_TOKENS_"
    with pytest.raises(SettingsError, match=said):
        read(monkeypatch, EMBED_MAX_CONCURRENT_TOKENS="1000")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"EMBED_DEVICES": "cpu,auto"}, "EMBED_DEVICES: auto stands alone; for several workers "),
        ({"EMBED_PORT": "80x"}, "EMBED_PORT: must be a whole number, not '80x'."),
        ({"EMBED_OPEN": "maybe"}, "EMBED_OPEN: must be true or false, not 'maybe'."),
        ({"EMBED_HOST": "http://localhost"}, "EMBED_HOST: must be an address or a name alone"),
        ({"EMBED_HOST": "127.0.0.1:80"}, "EMBED_HOST: must be an address or a name alone"),
        ({"EMBED_REQUEST_TIMEOUT_S": "inf"}, "EMBED_REQUEST_TIMEOUT_S: must be a finite number, n"),
        (
            {"EMBED_DRAIN_DELAY_S": "1e12"},
            "EMBED_DRAIN_DELAY_S: must be at most 86400, not '1e12'.",
        ),
        (
            {"EMBED_KEEP_ALIVE_S": "86401"},
            "EMBED_KEEP_ALIVE_S: must be at most 86400, not '86401'.",
        ),
        ({"EMBED_DATA_DAYS": "1e9"}, "EMBED_DATA_DAYS: must be at most 36500, not '1e9'."),
        ({"EMBED_FOO": "1"}, "unknown setting EMBED_FOO."),
        (
            {"EMBED_LOG_FORMAT": "xml", "EMBED_MAX_INPUTS": "0"},
            "EMBED_MAX_INPUTS: must be at least 1, not '0'. "
            "EMBED_LOG_FORMAT: must be 'text' or 'json', not 'xml'.",
        ),
    ],
)
def test_what_is_wrong_is_said_of_each_variable(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **variables)
    assert str(caught.value).startswith(said)
    assert "Did you mean" not in str(caught.value)


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose and shell scripts pass those on."""
    names = [f"EMBED_{name.upper()}" for name in Settings.model_fields]
    assert read(monkeypatch, **dict.fromkeys(names, "")) == Settings.model_construct()


def test_an_empty_name_of_a_keys_file_does_not_open_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = read(monkeypatch, EMBED_KEYS_FILE="", EMBED_HOST="10.0.0.1", EMBED_OPEN="")
    with pytest.raises(SettingsError, match="there are no keys"):
        check_servable(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMBED_PORT", "tcp://10.0.0.1:8080"),
        ("EMBED_SERVICE_HOST", "10.0.0.1"),
        ("EMBED_SERVICE_PORT", "8080"),
        ("EMBED_SERVICE_PORT_HTTP", "8080"),
        ("EMBED_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("EMBED_PORT_8080_TCP_PROTO", "tcp"),
        ("EMBED_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("EMBED_GPU_SERVICE_HOST", "10.0.0.1"),
    ],
)
def test_a_link_that_kubernetes_makes_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}=.*`enableServiceLinks: false`"):
        read(monkeypatch, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMBED_PORT", "http"),
        ("EMBED_PORT", "70000"),
        ("EMBED_DTYPE", "int4"),
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
