"""Pages for benchmarks: pictures of words, or of bars, the same for the same seed. PIL images, no files."""

from random import Random

from PIL import Image, ImageDraw, ImageFont

_WORDS = "invoice total amount due date page account number balance customer the of and to in for".split()


def draw_page(width: int, height: int, seed: str, *, chart: bool) -> Image.Image:
    """A page of lines of words; or a chart."""
    return (_chart if chart else _words)(width, height, Random(seed))


def _words(width: int, height: int, random: Random) -> Image.Image:
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=15)
    for y in range(30, height - 30, 21):
        line = ""
        while len(line) < (width - 130) // 8:
            line += (random.choice(_WORDS) if random.random() < 0.8 else str(random.randrange(100000))) + " "
        draw.text((40, y), line, fill=(random.randrange(60),) * 3, font=font)
    return page


def _chart(width: int, height: int, random: Random) -> Image.Image:
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=15)
    draw.line((60, 40, 60, height - 60, width - 40, height - 60), fill="black", width=2)
    count = random.randrange(4, 12)
    step = (width - 120) / count
    for bar in range(count):
        left, top = 70 + bar * step, random.randrange(60, height - 80)
        colour = tuple(random.randrange(40, 220) for _ in range(3))
        draw.rectangle((left, top, left + step * 0.7, height - 60), fill=colour)
        draw.text((left, top - 20), str(random.randrange(1000)), fill="black", font=font)
        draw.text((left, height - 50), random.choice(_WORDS), fill="black", font=font)
    return page
