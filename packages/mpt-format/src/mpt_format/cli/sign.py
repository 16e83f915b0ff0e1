"""`mpt sign`: vouch for an archive with a private key."""

from __future__ import annotations

import click

from mpt_format.errors import escape_text
from mpt_format.signing import sign_archive


@click.command()
@click.argument("path", type=click.Path())
@click.option("--key", type=click.Path(), metavar="FILE", required=True, help="Private key in PEM (elliptic curve).")
@click.option(
    "--password", metavar="TEXT", envvar="MPT_KEY_PASSWORD", help="Of the key; better through $MPT_KEY_PASSWORD."
)
@click.option("--signature", type=click.Path(), metavar="FILE", help="What to write; PATH.sig when left out.")
def sign(path: str, key: str, password: str | None, signature: str | None) -> None:
    """Sign an archive; works offline, needs `mpt-format[sign]`.

    \b
    Examples:
      openssl ecparam -name prime256v1 -genkey -noout -out key.pem
      openssl ec -in key.pem -pubout -out key.pub
      mpt sign run.mpt --key key.pem
      mpt verify run.mpt --key key.pub
    """  # noqa: D301
    written = sign_archive(path, key=key, password=password, signature=signature)
    click.echo(f"{escape_text(path)}: signature in {escape_text(str(written))}")
