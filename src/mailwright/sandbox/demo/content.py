"""★ What the demo's messages say, whatever form they travel in. Pure.

The same draft says the same every time.
"""

import csv
import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Final

from mailwright.sandbox.demo.plan import Draft, Kind

SHOP: Final = "shop.acme.test"
NEWS: Final = "news.acme.test"
_INVOICE_OCTETS: Final = 6_000
_BROCHURE_OCTETS: Final = 120_000
_IMAGE_WIDTH: Final = 120
_IMAGE_HEIGHT: Final = 40
_OFFERS: Final = (
    ("Spring sale: up to 40 % off 🌸", "Everything for the garden, until Sunday."),
    ("Весенняя распродажа 🌷 до −40 %", "Всё для сада — только до воскресенья."),
    ("New in: lamps, rugs & 27 chairs 🪑", "Designed in Porto, made to last."),
    ("Только для вас: скидка 15 % ✂️", "Промокод ВЕСНА действует до пятницы."),
    ("Your weekly digest ☕", "Five articles that our readers liked best."),
)
_RUSSIAN_GOODS: Final = ("Чайник", "Лампа настольная", "Стул венский")
_GOODS: Final = ("Desk lamp", "Rug, wool", "Café table", *_RUSSIAN_GOODS)
_FILLER: Final = (
    "We pick the week's finds by hand and write about them the way we would to a friend.",
    "Доставка по всей стране — от двух дней, возврат — тридцать дней без вопросов.",
    "Made from oak that grew within a hundred kilometres of the workshop.",
    "Обо всём, что изменилось в вашем заказе, мы напишем отдельным письмом.",
)


@dataclass(frozen=True, slots=True)
class File:
    """A file in a message; with a ``content_id`` the HTML shows it."""

    name: str
    content_type: str
    content: bytes
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says.

    Attributes:
        author: address of the From mailbox.
        author_name: shown beside it.
        text: lines end in LF.
        html: ``""`` for none.
        charset: of the text where the sender may choose.
        encoding: its Content-Transfer-Encoding, likewise.
    """

    author: str
    author_name: str
    subject: str
    text: str
    html: str = ""
    files: tuple[File, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    charset: str = "utf-8"
    encoding: str = "quoted-printable"

    @property
    def author_domain(self) -> str:
        """The sending domain."""
        return self.author.rpartition("@")[2]


def content_of(draft: Draft) -> Content:
    """Return what ``draft`` says."""
    random = Random(draft.number)  # noqa: S311 - the same words every time
    match draft.kind:
        case Kind.NEWSLETTER | Kind.ILLUSTRATED | Kind.BROCHURE:
            return _news(draft, random)
        case Kind.INVOICE | Kind.REPORT:
            return _paperwork(draft, random)
        case _:
            return _note(draft, random)


def _news(draft: Draft, random: Random) -> Content:
    subject, lead = random.choice(_OFFERS)
    paragraphs = [lead, *random.sample(_FILLER, 3)]
    image = ""
    files: tuple[File, ...] = ()
    if draft.kind is Kind.ILLUSTRATED:
        ident = f"banner{draft.number}@{NEWS}"
        image = f'<img src="cid:{ident}" width="{_IMAGE_WIDTH}" alt="Spring">\n'
        files = (File("banner.png", "image/png", _image(draft.number % 3), ident),)
    elif draft.kind is Kind.BROCHURE:
        name = "Каталог — весна.pdf"
        files = (File(name, "application/pdf", _pdf(random, _BROCHURE_OCTETS)),)
    link = f"https://{NEWS}/leave?who={draft.number:08x}"
    return Content(
        author=f"hello@{NEWS}",
        author_name="Acme News 🌿",
        subject=subject,
        text="\n\n".join([*paragraphs, f"Unsubscribe: {link}"]) + "\n",
        html=_html(subject, image, paragraphs, link),
        files=files,
        headers=(
            ("List-Id", f"Acme weekly <weekly.{NEWS}>"),
            ("List-Unsubscribe", f"<{link}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ),
    )


def _html(subject: str, image: str, paragraphs: list[str], link: str) -> str:
    body = "\n".join(f'<p style="margin:0 0 1em">{each}</p>' for each in paragraphs)
    return (
        "<!DOCTYPE html>\n"
        f'<html><head><meta charset="utf-8"><title>{subject}</title></head>\n'
        '<body style="font-family:Georgia,serif;max-width:36em;margin:auto">\n'
        f"{image}<h1>{subject}</h1>\n{body}\n"
        f'<p><small><a href="{link}">Unsubscribe</a></small></p>\n'
        "</body></html>\n"
    )


def _paperwork(draft: Draft, random: Random) -> Content:
    order = 40_000 + draft.number
    if draft.kind is Kind.INVOICE:
        pdf = _pdf(random, _INVOICE_OCTETS)
        return Content(
            author=f"orders@{SHOP}",
            author_name="Магазин «Акме»",
            subject=f"Счёт № {order} — спасибо за заказ! 🧾",
            text=f"Здравствуйте!\n\nСчёт № {order} — во вложении.\n\n— Ваш «Акме»\n",
            files=(File(f"Счёт {order}.pdf", "application/pdf", pdf),),
            headers=(("X-Order", str(order)),),
        )
    return Content(
        author=f"reports@{SHOP}",
        author_name="Acme reports",
        subject=f"Sales, week {1 + draft.number % 52}: the figures you asked for",
        text="The table is attached. All sums include VAT.\n",
        files=(File("sales.csv", "text/csv", _csv(random)),),
    )


def _note(draft: Draft, random: Random) -> Content:
    order = 40_000 + draft.number
    subject, text = f"Your order {order} has been shipped", "It is on its way.\n"
    charset, encoding = "utf-8", "quoted-printable"
    headers: tuple[tuple[str, str], ...] = ()
    match draft.kind:
        case Kind.REPLY:
            parent = f"<question.{order}@customer.test>"
            root = f"<thread.{order}@customer.test>"
            subject = f"Re: Где мой заказ {order}?"
            text = "> Где мой заказ?\n\nУже в пути — завтра будет у вас. 📦\n"
            headers = (("In-Reply-To", parent), ("References", f"{root} {parent}"))
        case Kind.EIGHT_BIT:
            subject = f"Заказ {order} отправлен"
            text = f"Товар «{random.choice(_RUSSIAN_GOODS)}» отправлен.\n" * 3
            charset, encoding = "windows-1251", "8bit"
        case Kind.QUOTED:
            text = f"Price: 12 € = 1 200 ¢.\nTrailing blanks:  \n{_FILLER[1]}\n"
        case Kind.LONG_LINES:
            text = " ".join(f"word{number}" for number in range(400)) + "\nThe end.\n"
            charset, encoding = "us-ascii", "7bit"
        case Kind.DOTS:
            text = ".\n..\n.hidden?\n...and so on\nFrom here on: dots.\n.\n"
            charset, encoding = "us-ascii", "7bit"
        case _:
            charset, encoding = "us-ascii", "7bit"
    return Content(
        author=f"orders@{SHOP}",
        author_name="Acme Shop",
        subject=subject,
        text=text,
        headers=headers,
        charset=charset,
        encoding=encoding,
    )


def _csv(random: Random) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(("article", "pieces", "sum"))
    for name in random.choices(_GOODS, k=40):
        pieces = random.randrange(1, 90)
        writer.writerow((name, pieces, f"{pieces * 14.9:.2f}"))
    return table.getvalue().encode()


def _pdf(random: Random, octets: int) -> bytes:
    """Return what looks like a PDF from outside: its frame around chance octets."""
    return (
        b"%%PDF-1.7\n%%\xe2\xe3\xcf\xd3\n1 0 obj\nstream\n%b\nendstream\n%%%%EOF\n"
        % (random.randbytes(octets))
    )


@lru_cache(maxsize=3)
def _image(colour: int) -> bytes:
    """Return a small PNG: a gradient of red, green or blue (0–2)."""
    rows = b"".join(
        b"\0"
        + bytes(
            (column * 2 * (colour == shade) + row * 4) & 255
            for column in range(_IMAGE_WIDTH)
            for shade in range(3)
        )
        for row in range(_IMAGE_HEIGHT)
    )
    head = struct.pack(">IIBBBBB", _IMAGE_WIDTH, _IMAGE_HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
