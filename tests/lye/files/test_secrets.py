"""Names that hold secrets, in every spelling that some file system takes for the same."""

from __future__ import annotations

import pytest

from lye._files.path import FilePath
from lye._files.secrets import Secrets
from lye.errors import PathRefused


def path(text: str) -> FilePath:
    return FilePath(tuple(text.split("/")))


SHUT = """
    .env .ENV .Env .env.local .env.production .env.bak .env~ .envrc prod.env .env.example.local a/b/.env
    .env/x server.pem Server.PEM deep/down/tls.key tls.key.bak tls.key~ .tls.key.swp #tls.key# tls.key.2026
    id_rsa ID_RSA id_rsa.pub id_ed25519 id_ecdsa_sk deploy_rsa .ssh .SSH/config home/.ssh/known_hosts .gnupg/x
    .aws/credentials .netrc _netrc .pgpass .npmrc .pypirc .git-credentials .git/config .git/HEAD sub/.git/x
    .GIT/config .kube/config .docker/config.json vault.kdbx cert.p12 cert.pfx credentials.json
    my-credentials.json client_secret_1.json service-account.json service-account-prod.json
    service_account.json secrets.yaml secrets.yml secret.json token token.json api_key.txt github_token
    passwords.txt terraform.tfstate prod.tfvars .htpasswd wp-config.php .bash_history .python_history
    .config/gcloud/x.db x/.config/gh/hosts.yml cookies.sqlite .m2/settings.xml .aws/config .auth.json.swp
"""
DISGUISED = {
    "Windows drops the dot": ".env.",
    "Windows drops the space": ".env ",
    "NTFS stream": "server.pem::$DATA",
    "ignored by HFS+": ".e\u200cnv",
    "long s": ".\u017f\u017fh/config",
    "fullwidth": ".\uff45\uff4e\uff56",
    "Kelvin sign": "tls.\u212aey",
    "joiner": "id_\u200drsa",
}
OPEN = """
    .env.example .env.sample .env.template .env.local.example example.env README.md environment.py src/env.py
    keys.py monkey.txt keyboard.md tokens.py src/token.ts token.go secrets.py secret.rs .gitignore
    .github/workflows/ci.yml id.txt config.json config package.json tokenizer.json shadow.css data.csv
    git/config ssh/config
"""


@pytest.mark.parametrize("text", [*SHUT.split(), *DISGUISED.values()], ids=[*SHUT.split(), *DISGUISED])
def test_secrets_are_shut(text: str) -> None:
    with pytest.raises(PathRefused, match="may hold secrets"):
        Secrets().check(path(text))


@pytest.mark.parametrize("text", OPEN.split())
def test_names_that_only_look_like_secrets_are_open(text: str) -> None:
    Secrets().check(path(text))


def test_deny_shuts_more_and_holds_against_allow() -> None:
    secrets = Secrets.of(deny=["*.SQL", "private", "a/b"], allow_secrets=["*.sql", ".env.test", ".git/HEAD"])
    for shut in ("dump.sql", "x/Private/y", "a/b", "x/a/b/c", ".env", ".env.test/id_rsa", ".git/config"):
        assert secrets.is_shut(path(shut)), shut
    for opened in (".env.test", "x/.env.test", ".git/HEAD", "a/c"):
        assert not secrets.is_shut(path(opened)), opened


def test_an_opened_folder_keeps_its_other_secrets_shut() -> None:
    secrets = Secrets.of((), [".git"])
    assert not secrets.is_shut(path(".git/config"))
    assert secrets.is_shut(path(".git/x.pem"))


def test_the_refusal_says_how_to_open_it_and_that_works() -> None:
    with pytest.raises(PathRefused, match=r"allow_secrets=\['\.ssh'\]"):
        Secrets().check(path("a/b/c/d/.ssh/e/f/g/config"))
    Secrets.of((), [".ssh"]).check(path("a/b/c/d/.ssh/e/f/g/config"))


@pytest.mark.parametrize("entry", ["", "/etc", "../x", "a/../b", "**", "a/**", "a/b/c/d", "."])
def test_an_entry_that_is_no_pattern_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="deny entry"):
        Secrets.of([entry], ())
    with pytest.raises(ValueError, match="pass a list"):
        Secrets.of("*.pem", ())
