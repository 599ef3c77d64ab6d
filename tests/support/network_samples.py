"""Posts of Bluesky and Mastodon in the forms in which people take them along, made here: @ada's."""

import hashlib
import io
import json
import tarfile
from typing import Any

import libipld

TEA = "tea for the ferry captain"
DID = "did:plc:abc"
ADA = {"did": DID, "handle": "ada.bsky.social", "displayName": "Ada"}
LARK = {"did": "did:plc:lark", "handle": "lark.example"}
POST = {"$type": "app.bsky.feed.post", "text": TEA, "createdAt": "2024-10-05T10:00:00.000Z", "langs": ["en"]}
ACTOR = "https://ferry.example/users/ada"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"


def view(author: dict[str, str], key: str = "3k", **record: Any) -> dict[str, Any]:
    return {
        "uri": f"at://{author['did']}/app.bsky.feed.post/{key}",
        "author": author,
        "record": POST | record,
        "likeCount": 2,
    }


def car(*posts: dict[str, Any]) -> bytes:
    """A repository of Bluesky: a header, and blocks that are found by the hashes of their bytes."""
    blocks: list[bytes] = []

    def block(value: Any) -> bytes:
        data = libipld.encode_dag_cbor(value)
        cid = bytes([1, 0x71, 0x12, 32]) + hashlib.sha256(data).digest()
        blocks.append(varint(len(cid) + len(data)) + cid + data)
        return cid

    def link(cid: bytes) -> bytes:
        return b"\xd8\x2a" + b"\x58" + bytes([len(cid) + 1]) + b"\0" + cid

    def node(entries: list[tuple[str, bytes]]) -> bytes:
        items = [
            b"\xa4"
            + b"\x61k"
            + bytes([0x58, len(key)])
            + key.encode()
            + b"\x61p\x00"
            + b"\x61t\xf6"
            + b"\x61v"
            + link(cid)
            for key, cid in entries
        ]
        data = b"\xa2" + b"\x61e" + bytes([0x80 + len(items)]) + b"".join(items) + b"\x61l\xf6"
        cid = bytes([1, 0x71, 0x12, 32]) + hashlib.sha256(data).digest()
        blocks.append(varint(len(cid) + len(data)) + cid + data)
        return cid

    tree = node([(f"app.bsky.feed.post/{number}", block(post)) for number, post in enumerate(posts)])
    commit = (
        b"\xa3" + b"\x63did" + bytes([0x60 + len(DID)]) + DID.encode() + b"\x64data" + link(tree) + b"\x67version\x03"
    )
    root = bytes([1, 0x71, 0x12, 32]) + hashlib.sha256(commit).digest()
    blocks.append(varint(len(root) + len(commit)) + root + commit)
    header = b"\xa2" + b"\x65roots\x81" + link(root) + b"\x67version\x01"
    return varint(len(header)) + header + b"".join(blocks)


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def note(number: int, **fields: Any) -> dict[str, Any]:
    object = {
        "id": f"{ACTOR}/statuses/{number}",
        "type": "Note",
        "content": f"<p>{TEA}</p>",
        "published": "2022-11-05T10:00:00Z",
    }
    whole = {"to": [PUBLIC], "cc": []} | fields
    return {"type": "Create", "actor": ACTOR, "object": object | whole, "to": whole["to"], "cc": whole["cc"]}


OUTBOX = [
    note(1, contentMap={"en": "x"}),
    note(2, to=[f"{ACTOR}/followers"], cc=[PUBLIC]),  # unlisted
    note(3, to=[f"{ACTOR}/followers"]),
    note(4, to=["https://ferry.example/users/ben"]),
    note(5, inReplyTo="https://x.example/1", summary="soup"),
    {
        "type": "Announce",
        "actor": ACTOR,
        "object": "https://x.example/2",
        "to": [PUBLIC],
        "published": "2022-11-05T10:00:00Z",
    },
]
ARCHIVE = {
    "actor.json": json.dumps({"type": "Person", "preferredUsername": "ada", "id": ACTOR, "name": "Ada"}),
    "outbox.json": json.dumps({"type": "OrderedCollection", "orderedItems": OUTBOX}),
    "likes.json": json.dumps({"type": "OrderedCollection", "orderedItems": ["https://x.example/3"]}),
    "media_attachments/1.png": "x",
}


def tarred(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()
