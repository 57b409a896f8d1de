"""The model room: rows in, vectors out. It knows nothing of HTTP, asyncio or settings."""
