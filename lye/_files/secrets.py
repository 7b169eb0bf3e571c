"""Which files hold secrets, by their names: they are not read, written, searched or entered.

A list of names is a net with holes: what an application calls its secrets itself goes into `deny`.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from typing import Self

from lye._files.path import FilePath
from lye.errors import PathRefused

# A pattern fits names that follow one another anywhere in a path; a folder that fits is shut with all that is in it.
_KEYS = """
    *.pem *.key *.ppk *.p12 *.pfx *.pkcs12 *.p8 *.jks *.keystore *.kdb *.kdbx *.keychain *.keychain-db *.ovpn
    id_rsa* id_dsa* id_ecdsa* id_ed25519* id_xmss* *_rsa *_dsa *_ecdsa *_ed25519 ssh_host_*_key .ssh .gnupg
    authorized_keys *.agekey .password-store .vault-token .vault_pass* vault_pass*
"""
_ACCOUNTS = """
    .env* *.env .dev.vars .flaskenv .netrc _netrc .pgpass pgpass.conf .my.cnf .mylogin.cnf .npmrc .pypirc .yarnrc.yml
    .git-credentials .gitconfig .hgrc .dockercfg .docker .kube kubeconfig *.kubeconfig .aws .azure .oci .s3cfg .boto
    .config/gcloud .config/gh .config/hub .config/rclone rclone.conf .rclone.conf .databrickscfg .snowsql
    .cargo/credentials* .gem/credentials .composer/auth.json auth.json .m2/settings.xml .terraformrc terraform.rc
    .terraform.d *.tfstate *.tfvars *.tfvars.json .htpasswd .htdigest .smbcredentials .msmtprc .fetchmailrc .muttrc
    wp-config.php shadow gshadow master.passwd
"""
_NAMED = """
    credential credentials credentials.* *credentials.json *credentials.csv client_secret* service-account*.json
    service_account*.json serviceaccount*.json *-service-account.json *firebase-adminsdk*.json
    secret secrets secret.* secrets.* *.secret *.secrets .secret* token tokens token.* tokens.* *.token .token*
    *_token *_token.txt *_token.json api_key* apikey* *_api_key *_apikey *_api_key.txt password passwords password.*
    passwords.* passwd .passwd *accesskeys.csv
"""
_HISTORIES = """
    .git .hg .svn .bzr .*history .lesshst .viminfo .mozilla .thunderbird logins.json key3.db key4.db cookies.sqlite
    cookies.txt .config/google-chrome .config/chromium
"""
SECRET_PATTERNS = tuple(f"{_KEYS} {_ACCOUNTS} {_NAMED} {_HISTORIES}".split())
_MAX_NAMES = 3  # in one pattern
# An example to copy, or a program's source: names that only look like secrets.
_HARMLESS = re.compile(
    r"\.env(\.[\w-]+)*\.(example|sample|template|dist|defaults)|(example|sample|template)\.env"
    r"|(secret|token|credential|password)s?\.(py|pyi|js|jsx|mjs|ts|tsx|vue|go|rs|java|kt|rb|php|c|h|cc|cpp|cs|swift|sql)"
)
_COPY = re.compile(r"(~|\.(bak|backup|old|orig|save|copy|swp|swo|tmp|disabled|\d{1,8}))$")


@dataclass(frozen=True)
class Secrets:
    """What stays shut. `deny` holds against `allowed`, which holds against the patterns above."""

    deny: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    @classmethod
    def of(cls, deny: Iterable[str], allow_secrets: Iterable[str]) -> Self:
        """From the developer's words; ValueError names what is no pattern."""
        return cls(_checked("deny", deny), _checked("allow_secrets", allow_secrets))

    def is_shut(self, path: FilePath, since: int = 0) -> bool:
        """Whether the path, or a folder on the way, holds secrets; the first `since` names are known not to."""
        return any(end > since for _, end in self._shut(path))

    def check(self, path: FilePath) -> None:
        """Refuse a path that is shut, before the disk is asked whether it exists."""
        for start, end in self._shut(path):
            name = "/".join(path.parts[start:end])
            is_own = any(True for _ in _fits(path, self.deny))
            how = "the developer shut it" if is_own else f"the developer can open it: allow_secrets=[{name!r}]"
            raise PathRefused(
                f"{path.shown!r} is refused: {name!r} may hold secrets; do without it, or ask the user ({how})"
            )

    def _shut(self, path: FilePath) -> Iterator[tuple[int, int]]:
        """The names, from and to, that shut the path."""
        yield from _fits(path, self.deny)
        opened: list[tuple[int, int]] | None = None
        for start, end in _fits(path, SECRET_PATTERNS):
            opened = list(_fits(path, self.allowed)) if opened is None else opened
            if not any(first <= start and end <= last for first, last in opened):
                yield start, end


def _checked(option: str, patterns: Iterable[str]) -> tuple[str, ...]:
    if isinstance(patterns, str):
        raise ValueError(f"{option} is {patterns!r}; pass a list: {option}=[{patterns!r}]")
    found = []
    for pattern in patterns:
        names = pattern.rstrip("/").split("/")
        if len(names) > _MAX_NAMES or not {"", ".", "..", "**"}.isdisjoint(names):
            raise ValueError(
                f"{option} entry {pattern!r} is no pattern; use a name such as '*.pem', or up to {_MAX_NAMES} names"
                " with '/' between, which may stand anywhere in a path"
            )
        found.append("/".join(map(_fold, names)))
    return tuple(found)


def _fits(path: FilePath, patterns: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Where (from, to) names of the path fit a pattern."""
    forms = [_forms(part) for part in path.parts]
    for count, regex in _compiled(patterns):
        for start in range(len(forms) - count + 1):
            end = start + count
            if patterns is SECRET_PATTERNS and _HARMLESS.fullmatch(forms[end - 1][0]):
                continue
            if any(regex.match("/".join(names)) for names in itertools.product(*forms[start:end])):
                yield start, end


@functools.lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> list[tuple[int, re.Pattern[str]]]:
    """A regex for each number of names, for one of 150 branches is quicker than 150 of them."""
    counts = sorted({pattern.count("/") + 1 for pattern in patterns})
    alike = {count: [p for p in patterns if p.count("/") + 1 == count] for count in counts}
    return [(count, re.compile("|".join(map(translate, alike[count])))) for count in counts]


@functools.lru_cache(maxsize=4_096)
def _forms(name: str) -> tuple[str, ...]:
    """The name as file systems may read it, then without the endings of copies: `.env.bak`, `server.key~`."""
    forms = [_fold(name)]
    while (shorter := _COPY.sub("", forms[-1])) and shorter != forms[-1]:
        forms.append(shorter)
    if len(forms) > 1 and forms[-1].startswith("."):
        forms.append(forms[-1][1:])  # vim's .server.key.swp
    if forms[0].startswith("#") and forms[0].endswith("#"):
        forms.append(forms[0].strip("#"))  # emacs' #server.key#
    return tuple(forms)


def _fold(name: str) -> str:
    """One form for names that some file system takes for the same: case, compatibility and ignored characters,
    the dots and spaces that Windows drops at the end, the streams that NTFS has behind a colon.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(char for char in folded if unicodedata.category(char) not in ("Cf", "Cc", "Mn"))
    return seen.partition(":")[0].rstrip(". ") or seen
