"""The HTTP service: `ur4rec serve RUN`.

POST /recommend /similar /explain /items; GET /health /metrics /search /image; a page to try it at
/, and the interface at /docs. Requests are checked and limited; what is wrong with one is told with
4xx.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field

import ur4rec_recbole
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.serving.holder import Holder
from ur4rec_recbole.serving.metrics import Metrics
from ur4rec_recbole.serving.ranking import Recommendations
from ur4rec_recbole.serving.recommender import Recommender

LARGEST_BODY = 2_000_000  # bytes
PATIENCE = 10  # seconds that a body may take
WRONG_KEY = "X-API-Key is missing or wrong"
CONCURRENCY = 64  # requests at a time
WATCHED = ("/health", "/metrics")  # what is to be known of a busy service above all
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src blob:; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
Token = Annotated[str, Field(min_length=1, max_length=500)]
Time = float | Annotated[str, Field(max_length=50)]
Number = Annotated[int, Field(ge=1, le=1000)]


class Body(BaseModel):
    """A request; a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class HistoryBody(Body):
    """What somebody has had, oldest first."""

    items: list[Token] = Field(max_length=10_000)
    times: list[Time] | None = Field(None, max_length=10_000)
    now: Time | None = None
    user: Token | None = None


class RecommendBody(HistoryBody):
    """A history, and what may be recommended to it."""

    k: Number = 10
    exclude: list[Token] = Field([], max_length=100_000)
    include_only: list[Token] | None = Field(None, max_length=100_000)
    repeat: bool = False
    only_new: bool = False


class ExplainBody(HistoryBody):
    """A history, and the item whose score is to be explained."""

    item: Token


class SimilarBody(Body):
    """An item."""

    item: Token
    k: Number = 10


class NewItem(Body):
    """An item that training has not seen, with a text or with vectors by modality."""

    item: Token
    title: str = Field("", max_length=500)
    text: str | None = Field(None, max_length=10_000)
    vectors: dict[str, list[float]] | None = None


class ItemsBody(Body):
    """New items, all of them with texts or all with vectors of the same modalities."""

    items: list[NewItem] = Field(min_length=1, max_length=1000)


class Scored(BaseModel):
    """An item with its score and title."""

    item: str
    score: float
    title: str


class Answer(BaseModel):
    """Items, best first, and tokens of the request that the catalogue does not have."""

    items: list[Scored]
    unknown: list[str] = []


def create_app(
    holder: Holder,
    api_key: str | None = None,
    images: Mapping[str, Path] | None = None,
    concurrency: int = CONCURRENCY,
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    holder
        Keeps the recommender, and takes a new one where its folder changes.
    api_key
        What requests must have as X-API-Key; None asks for none.
    images
        Files of images by item, which the page shows.
    concurrency
        Requests answered at a time; further ones are told to come again, those of `WATCHED` not.
    """
    metrics = Metrics(holder)
    header = APIKeyHeader(name="X-API-Key", auto_error=False)

    async def allowed(given: Annotated[str | None, Depends(header)]) -> None:
        if not _has_key(given, api_key):
            raise HTTPException(401, WRONG_KEY)

    app = FastAPI(title="UR4Rec", version=ur4rec_recbole.__version__)
    app.middleware("http")(_limited(metrics, concurrency, api_key))
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(RequestValidationError, _misshaped)
    guarded: Any = [Depends(allowed)]
    _add_answers(app, holder, guarded)
    _add_pages(app, holder, metrics, guarded)
    _add_images(app, holder, images or {}, guarded)
    return app


def _add_answers(app: FastAPI, holder: Holder, guarded: Any) -> None:
    @app.post("/recommend", dependencies=guarded)
    def recommend(body: RecommendBody) -> Answer:
        """Recommend items to a history of anybody."""
        recommender = holder.recommender
        return _answer(recommender, recommender.recommend(**body.model_dump()))

    @app.post("/similar", dependencies=guarded)
    def similar(body: SimilarBody) -> Answer:
        """List the items that are most like one."""
        recommender = _that_has(body.item, holder)
        return _answer(recommender, recommender.similar_items(body.item, body.k))

    @app.post("/explain", dependencies=guarded)
    def explain(body: ExplainBody) -> dict[str, Any]:
        """Tell why an item is scored as it is."""
        return _that_has(body.item, holder).explain(**body.model_dump())._asdict()

    @app.post("/items", dependencies=guarded, status_code=201)
    def items(body: ItemsBody) -> dict[str, int]:
        """Add items, which lasts until the model is loaded again."""
        holder.add_items([each.model_dump() for each in body.items])
        return {"items": len(holder.recommender.index.tokens) - 1}


def _add_pages(app: FastAPI, holder: Holder, metrics: Metrics, guarded: Any) -> None:
    @app.get("/search", dependencies=guarded)
    def search(query: Annotated[str, Query(max_length=100)] = "") -> list[dict[str, str]]:
        """Find items by a part of their title or id, 20 at most."""
        return holder.search(query)

    @app.get("/metrics", dependencies=guarded, response_class=PlainTextResponse)
    async def shown_metrics() -> Response:
        """Return counters as Prometheus reads them."""
        return Response(metrics.text(), media_type=metrics.content_type)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(_file("page.html"), headers=HEADERS)

    @app.get("/page.js", include_in_schema=False)
    def script() -> Response:
        return Response(_file("page.js"), media_type="text/javascript", headers=HEADERS)


def _add_images(app: FastAPI, holder: Holder, images: Mapping[str, Path], guarded: Any) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Tell that requests are answered, and by what."""
        return holder.health() | {"images": len(images)}

    @app.get("/image", dependencies=guarded, response_class=FileResponse)
    def image(item: Token) -> FileResponse:
        """Return the image of an item."""
        if item not in images:
            raise HTTPException(404, f"item {item!r} has no image")
        return FileResponse(images[item], headers={"X-Content-Type-Options": "nosniff"})


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _has_key(given: str | None, api_key: str | None) -> bool:
    return not api_key or hmac.compare_digest((given or "").encode(), api_key.encode())


def _limited(
    metrics: Metrics, concurrency: int, api_key: str | None
) -> Callable[..., Awaitable[Response]]:
    """Refuse what is not to be answered, and requests beyond so many; measure each request.

    A request counts once its body is there: one that never comes keeps nobody from an answer.
    """
    under_way = 0

    async def call(request: Request, call_next: Callable[..., Awaitable[Response]]) -> Response:
        nonlocal under_way
        counts = request.url.path not in WATCHED
        with metrics.measured(request) as seen:
            refused = await _refusal(request, api_key) if request.method == "POST" else None
            if refused is not None:
                seen.response = refused
            elif counts and under_way >= concurrency:
                told = f"{concurrency} requests are being answered"
                seen.response = JSONResponse({"detail": told}, 503, {"Retry-After": "1"})
            else:
                under_way += counts
                try:
                    seen.response = await call_next(request)
                finally:
                    under_way -= counts
        return seen.response

    return call


async def _refusal(request: Request, api_key: str | None) -> Response | None:
    """Read a body that is short and comes in time, of somebody with the key; or say what is not."""
    if not _is_short(request):
        told = f"a request must have a length of at most {LARGEST_BODY} bytes"
        return JSONResponse({"detail": told}, 413)
    if not _has_key(request.headers.get("X-API-Key"), api_key):
        return JSONResponse({"detail": WRONG_KEY}, 401)
    try:
        await asyncio.wait_for(request.body(), PATIENCE)
    except asyncio.TimeoutError:
        return JSONResponse({"detail": f"the body did not come within {PATIENCE} seconds"}, 408)
    return None


def _is_short(request: Request) -> bool:
    """Tell whether a body says how long it is, and is not too long.

    Servers hold it to that, but not one that comes in chunks, whatever length it says.
    """
    length = request.headers.get("content-length", "")
    told = length.isdecimal() and len(length) < 20 and int(length) <= LARGEST_BODY
    return told and "transfer-encoding" not in request.headers


async def _refused(request: Request, error: Exception) -> JSONResponse:
    del request
    return JSONResponse({"detail": str(error)}, 422)


async def _misshaped(request: Request, error: Exception) -> JSONResponse:
    """Say what is wrong and where, without repeating it: not every value can be written as JSON."""
    del request
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    told = [{"loc": [_shown(each) for each in f["loc"]], "msg": f["msg"]} for f in faults[:10]]
    return JSONResponse({"detail": told}, 422)


def _shown(part: str | int) -> str | int:
    return part if isinstance(part, int) else part[:100].encode("utf-8", "replace").decode()


def _that_has(item: str, holder: Holder) -> Recommender:
    """Return the recommender of now, which may be another one at the next look."""
    recommender = holder.recommender
    if item not in recommender.index.ids:
        raise HTTPException(404, f"item {item!r} is not in the catalogue")
    return recommender


def _answer(recommender: Recommender, found: Recommendations) -> Answer:
    titles = recommender.titles
    pairs = zip(found.items, found.scores, strict=True)
    items = [Scored(item=i, score=s, title=titles.get(i, "")) for i, s in pairs]
    return Answer(items=items, unknown=list(found.unknown))
