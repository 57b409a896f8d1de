"""An example of a request for each route with texts, for the OpenAPI document and its page."""

from typing import Any

# The README's request, of Jina's launch post: skincare in four languages, make-up in Japanese.
EMBEDDINGS: dict[str, Any] = {
    "model": "quintet-mini",
    "task": "text-matching",
    "dimensions": 256,
    "late_chunking": False,
    "input": [
        "Organic skincare for sensitive skin with aloe vera and chamomile: Imagine the "
        "soothing embrace of nature with our organic skincare range, crafted specifically "
        "for sensitive skin.",
        "Bio-Hautpflege für empfindliche Haut mit Aloe Vera und Kamille: Erleben Sie die "
        "wohltuende Wirkung unserer Bio-Hautpflege, speziell für empfindliche Haut "
        "entwickelt.",
        "Cuidado de la piel orgánico para piel sensible con aloe vera y manzanilla: Descubre "
        "el poder de la naturaleza con nuestra línea de cuidado de la piel orgánico, "
        "diseñada especialmente para pieles sensibles.",
        "针对敏感肌专门设计的天然有机护肤产品：体验由芦荟和洋甘菊提取物带来的自然呵护。我"
        "们的护肤产品特别为敏感肌设计，温和滋润，保护您的肌肤不受刺激。",
        "新しいメイクのトレンドは鮮やかな色と革新的な技術に焦点を当てています: "
        "今シーズンのメイクアップトレンドは、大胆な色彩と革新的な技術に注目しています。",
    ],
}
# The first sentence says what the others speak of.
DOCUMENTS: dict[str, Any] = {
    "model": "quintet-mini",
    "input": [
        {
            "id": "berlin",
            "text": "Berlin is the capital of Germany. It has 3.8 million inhabitants. The city "
            "lies on the river Spree.",
        }
    ],
    "chunking": {"by": "sentences", "max_tokens": 64, "min_tokens": 1},
    "dimensions": 128,
}
AZURE: dict[str, Any] = {"input": ["Guten Morgen!"], "dimensions": 128, "task": "separation"}
TOKENIZE: dict[str, Any] = {"input": ["Guten Morgen!", "Good morning!"], "counts_only": True}
INVOCATIONS: dict[str, Any] = {
    "data": [{"id": "1", "text": "Guten Morgen!"}, {"id": "2", "text": "Good morning!"}],
    "parameters": {"task": "retrieval.passage", "dimensions": 128},
}
INVOCATIONS_CSV = '1,Guten Morgen!\n2,"Good morning, Vietnam!"\n'
