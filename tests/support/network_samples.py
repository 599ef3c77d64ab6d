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


_STAMP = "2025-05-18 04:35:32 UTC"
_LINK = "https://www.reddit.com/r/tea/comments/p1/ferries"
REDDIT: dict[str, str | bytes] = {  # what an export holds, by path; ada-wren's
    "statistics.csv": "statistic,value\naccount name,Ada-Wren\nexport time,2026-01-02 06:57:14 UTC\nis_deleted,False\n",
    "comment_headers.csv": f"id,permalink,date,ip,subreddit,gildings,link,parent\nc1,{_LINK}/c1,{_STAMP},,tea,0,,\n",
    "comment_votes.csv": f"id,permalink,direction\nv1,{_LINK},up\n",
    "comments.csv": "id,permalink,date,ip,subreddit,gildings,link,parent,body,media\n"
    f"c1,{_LINK}/c1,{_STAMP},,tea,0,{_LINK},,{TEA},\n"
    f'c2,{_LINK}/c2,{_STAMP},,tea,0,{_LINK},c1,"> hot?\n\nno, cold",\n'
    f"c3,{_LINK}/c3,{_STAMP},,tea,0,{_LINK},,[removed],\n",
    "posts.csv": "id,permalink,date,ip,subreddit,gildings,title,url,body\n"
    f"p1,{_LINK},{_STAMP},,tea,0,Ferries,https://x.com/nasa/status/1,\n"
    f"p2,{_LINK},{_STAMP},,tea,0,Ferries,,{TEA}\n",
    "messages.csv": f"id,permalink,thread_id,date,ip,from,to,subject,body\nm1,x,,{_STAMP},,lark,Ada-Wren,hi,a secret\n",
    "chat_history.csv": f"message_id,created_at,updated_at,username,message\n1,{_STAMP},,lark,a secret\n",
    "drafts.csv": "id,title,body,kind,created\nd1,never,published,text,x\n",
}


def _mangled(value: str) -> str:
    return value.encode().decode("latin-1")


_THREADS_POSTS = [
    {"media": [{"uri": "", "creation_timestamp": 1754466859, "title": _mangled("café 👍"),
                "text_app_post": {"reply_control": "everyone", "is_reply": True}}]},
    {"title": "two pictures", "creation_timestamp": 1754500000,
     "media": [{"uri": "1.jpg", "title": "", "text_app_post": {"is_reply": False}}, {"uri": "2.jpg", "title": ""}]},
    {"media": [{"uri": "3.jpg", "creation_timestamp": 1754500001, "title": ""}]},
    "nothing",
]  # fmt: skip
_THREADS_USER = {"Username": {"href": "", "value": "Ada.Wren", "timestamp": 0}}
_AT = "your_instagram_activity"
THREADS: dict[str, str | bytes] = {  # what an export of an Instagram account holds, by path; ada.wren's
    f"{_AT}/threads/threads_and_replies.json": json.dumps({"text_post_app_text_posts": _THREADS_POSTS}),
    f"{_AT}/threads/personal_information.json": json.dumps(
        {"text_post_app_text_post_app_profile": [{"string_map_data": _THREADS_USER}]}
    ),
    f"{_AT}/threads/liked_threads.json": json.dumps({"text_post_app_media_likes": [{"title": "lark"}]}),
    f"{_AT}/messages/inbox/lark/message_1.json": json.dumps([{"sender_name": "lark", "content": "a secret"}]),
}
