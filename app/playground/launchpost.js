// The five texts of Jina's launch post of jina-embeddings-v3: four say the same of skincare in four
// languages, the fifth is about make-up. tests/golden/launch_post.json has them too.

/** @type {readonly string[]} */
export const LAUNCH_POST = [
  "Organic skincare for sensitive skin with aloe vera and chamomile: Imagine the soothing " +
    "embrace of nature with our organic skincare range, crafted specifically for sensitive skin.",
  "Bio-Hautpflege für empfindliche Haut mit Aloe Vera und Kamille: Erleben Sie die wohltuende " +
    "Wirkung unserer Bio-Hautpflege, speziell für empfindliche Haut entwickelt.",
  "Cuidado de la piel orgánico para piel sensible con aloe vera y manzanilla: Descubre el poder " +
    "de la naturaleza con nuestra línea de cuidado de la piel orgánico, diseñada especialmente " +
    "para pieles sensibles.",
  "针对敏感肌专门设计的天然有机护肤产品：体验由芦荟和洋甘菊提取物带来的自然呵护。" +
    "我们的护肤产品特别为敏感肌设计，温和滋润，保护您的肌肤不受刺激。",
  "新しいメイクのトレンドは鮮やかな色と革新的な技術に焦点を当てています: " +
    "今シーズンのメイクアップトレンドは、大胆な色彩と革新的な技術に注目しています。",
];
