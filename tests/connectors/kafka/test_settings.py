"""What a table of type `kafka` may say."""

import pytest
from pydantic import ValidationError

from connectors.kafka import KafkaSettings

CANARY = "canary-7f3a"
LOGIN = {"sasl_username": "u", "sasl_password": CANARY}


def settings(**keys) -> KafkaSettings:
    table = {"name": "events", "type": "kafka", "bootstrap_servers": ["k1:9092"], "topic": "mail", **keys}
    return KafkaSettings.model_validate(table)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    return path


def test_servers_and_a_topic_are_enough():
    assert settings().key == "{id}"


@pytest.mark.parametrize("server", ["k:9092", "127.0.0.1:1", "kafka-1.example.org:65535", "[2001:db8::1]:9092"])
def test_brokers_are_hosts_with_ports(server):
    assert settings(bootstrap_servers=[server]).bootstrap_servers == (server,)


@pytest.mark.parametrize("server", ["", "k", "k:", "k:0", "k:65536", "k:9092\n", "2001:db8::1:9092", "kafka://k:9092"])
def test_other_brokers_are_refused(server):
    with pytest.raises(ValidationError, match="is no broker address"):
        settings(bootstrap_servers=[server])


def test_no_broker_is_refused():
    with pytest.raises(ValidationError, match="at least 1 item"):
        settings(bootstrap_servers=[])


@pytest.mark.parametrize("topic", ["mail", "mail.{recipient_domain}", "{listener}", "{year}-{month}", "M_a.i-l" * 35])
def test_topics_are_templates_of_names_that_kafka_takes(topic):
    assert settings(topic=topic).topic == topic


@pytest.mark.parametrize(
    ("topic", "complaint"),
    [
        ("", "1 to 249 characters"),
        (".", "1 to 249 characters"),
        ("..", "1 to 249 characters"),
        ("x" * 250, "1 to 249 characters"),
        ("my topic", "letters, digits"),
        ("mail/{id}", "letters, digits"),
        ("mail\n", "letters, digits"),
        ("{subject}", "is not a field of a template"),
        ("mail{", "a brace has no partner"),
    ],
)
def test_other_topics_are_refused(topic, complaint):
    with pytest.raises(ValidationError, match=complaint):
        settings(topic=topic)


def test_a_key_with_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="is not a field of a template"):
        settings(key="{message_id}")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("registry:8081", "begin with http"),
        ("ftp://registry", "begin with http"),
        ("http://registry:0", "begin with http"),
        ("http://[::1", "begin with http"),
        (f"http://u:{CANARY}@registry", "credentials do not belong"),
        ("http://registry/?a=b", "ends with its path"),
    ],
)
def test_a_registry_is_an_http_url_without_credentials(url, complaint):
    with pytest.raises(ValidationError, match=complaint) as caught:
        settings(format="avro", schema_registry_url=url)
    assert CANARY not in str(caught.value)


def test_the_path_of_a_registry_may_end_in_a_slash():
    assert settings(format="avro", schema_registry_url="http://r:1/api/").schema_registry_url == "http://r:1/api"


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"format": "raw", "content_mode": "structured"}, 'content_mode is for the format "cloudevents-json"'),
        ({"schema_registry_url": "http://r"}, 'schema_registry_url is for the format "avro"'),
        (
            {"format": "avro", "schema_registry_url": "http://r", "schema_registry_username": "u"},
            "goes with one of schema_registry_password",
        ),
        (
            {"schema_registry_username": "u", "schema_registry_password": CANARY},
            "schema_registry_username is for a schema_registry_url",
        ),
        (
            {
                "format": "avro",
                "schema_registry_url": "http://r",
                "schema_registry_username": "a:b",
                "schema_registry_password": CANARY,
            },
            "schema_registry_username has no colon",
        ),
        ({"inline_max_bytes": 1024 * 1024}, "inline_max_bytes has to be smaller than max_request_bytes"),
        ({"claim_check": "events"}, "claim_check names this connector itself"),
        ({"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u"}, "needs sasl_username and one of sasl_password"),
        ({"sasl_mechanism": "SCRAM-SHA-512", "sasl_password": CANARY}, "needs sasl_username and one of sasl_password"),
        (LOGIN, "need a sasl_mechanism"),
        ({"sasl_mechanism": "PLAIN", **LOGIN}, "sends the password as it is; set tls = true"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys, complaint):
    with pytest.raises(ValidationError, match=complaint) as caught:
        settings(**keys)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"tls": True, "tls_key_file": "file"}, "tls_key_file goes with tls_cert_file"),
        ({"tls_cert_file": "file"}, "tls_cert_file is for tls = true"),
        ({"tls_ca_file": "file"}, "tls_ca_file is for tls = true or"),
        (
            {"tls": True, "sasl_mechanism": "PLAIN", "sasl_password_file": "file", **LOGIN},
            "one of sasl_password and sasl_password_file",
        ),
    ],
)
def test_files_that_do_not_go_together_are_refused(keys, complaint, file):
    with pytest.raises(ValidationError, match=complaint):
        settings(**{key: file if value == "file" else value for key, value in keys.items()})


def test_all_faults_of_combination_are_told_at_once():
    with pytest.raises(ValidationError, match=r"content_mode .*; claim_check"):
        settings(format="avro", content_mode="structured", claim_check="events")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="does not point to a file"):
        settings(tls=True, tls_ca_file=tmp_path / "missing")


def test_a_registry_over_https_may_have_a_ca_of_its_own(file):
    assert settings(format="avro", schema_registry_url="https://r", tls_ca_file=file).tls_ca_file == file


def test_the_claim_check_is_a_reference():
    assert settings(claim_check="archive").references() == ("archive",)
    assert settings().references() == ()


def test_no_secret_is_shown():
    shown = repr(settings(sasl_mechanism="SCRAM-SHA-512", **LOGIN))
    assert CANARY not in shown
