from pathlib import Path

import pytest

from bottega.errors import InvalidInput
from bottega.settings import Settings, asset_folder, load_settings


def test_defaults_without_anything(tmp_path):
    assert load_settings({}, {}, tmp_path / "bottega.toml") == Settings()


def test_flags_win_over_environment_over_file(tmp_path):
    file = tmp_path / "bottega.toml"
    file.write_text('workspace = "from_file"\nseed = 1\nhttp_port = 1000\n')
    settings = load_settings({"seed": 3, "workspace": None}, {"BOTTEGA_SEED": "2", "BOTTEGA_HTTP_PORT": "2000"}, file)
    assert settings == Settings(workspace=Path("from_file"), seed=3, http_port=2000)


def test_endpoints_come_from_all_places_together(tmp_path):
    file = tmp_path / "bottega.toml"
    file.write_text('[endpoints]\nweather = "http://file/"\ntraffic = "http://file/traffic"\n')
    settings = load_settings({}, {"BOTTEGA_ENDPOINT_WEATHER": "http://here/"}, file)
    assert settings.endpoints == {"weather": "http://here/", "traffic": "http://file/traffic"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1\n", "colour.*no setting.*Settings are workspace"),
        ("seed = 'many'\n", "seed to 'many'"),
        ("seed = \n", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    file = tmp_path / "bottega.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        load_settings({}, {}, file)


def test_a_wrong_environment_value_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="the environment sets http_port to 'eighty'"):
        load_settings({}, {"BOTTEGA_HTTP_PORT": "eighty"}, tmp_path / "bottega.toml")


def test_assets_lie_beside_the_package_in_a_checkout():
    assert (asset_folder("labs")).is_dir()
    assert (asset_folder("datasets")).is_dir()
