from datetime import date

import pytest

from config import images
from config.settings import load
from config.values import SettingsError


def settings(*overrides):
    return load(environ={}, overrides=overrides)


def test_the_images_of_facts():
    assert images.uri("training", settings()).endswith("/pytorch:2.13-cpu-amzn2023-sagemaker")
    assert images.uri("training", settings(), "gpu").endswith("/pytorch:2.13-cu133-amzn2023-sagemaker")
    assert images.uri("serving", settings()).endswith("/ray:serve-ml-sagemaker-cpu-v1")
    assert images.uri("rules", settings()).endswith("/sagemaker-debugger-rules:latest")


def test_the_region_of_the_settings():
    assert ".eu-west-1." in images.uri("serving", settings("region=eu-west-1"))


def test_an_unknown_version_or_region_names_the_setting():
    with pytest.raises(SettingsError, match=r"^images.training_version = '9.9', region = 'us-east-1': "):
        images.uri("training", settings("images.training_version=9.9"))
    with pytest.raises(SettingsError, match=r"^region = 'xx-east-1': no rules image"):
        images.uri("rules", settings("region=xx-east-1"))


def test_the_end_of_patches_follows_the_chosen_version():
    assert images.end_of_patch("training", settings()) == date(2027, 7, 20)
    assert images.end_of_patch("training", settings("images.training_version=2.11")) is None
    assert images.end_of_patch("serving", settings()) is None
