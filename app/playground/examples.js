// Examples: what the page asks first, and what can be chosen. tests/browser/test_examples.py
// measures with the embedded model what each one claims; another model may see them differently,
// and the page says what it saw.

/**
 * @typedef {object} Example
 * @property {string} title what to expect
 * @property {string} lang of its texts
 * @property {string} question
 * @property {string} documents a line `=== Name` before each
 * @property {string} answer the beginning of the chunk that answers
 * @property {"better" | "worse"} claim what late chunking does to the answer's rank
 */

/** @type {readonly Example[]} */
export const EXAMPLES = [
  {
    title: "English: which battery?",
    lang: "en",
    question: "How do I change the battery of the Meteor?",
    documents: `=== Aurora
The Aurora X2 is our cordless vacuum cleaner. It runs for 55 minutes on one charge. To change the battery, pull the two grey tabs. Two years of warranty.
=== Meteor
The Meteor 9 is our robot lawn mower. It runs for 90 minutes on one charge. To change the battery, loosen four screws below. Three years of warranty.
=== Comet
The Comet is our electric bicycle. It runs for 120 kilometres on one charge. To change the battery, turn the key and lift it out. Five years of warranty.`,
    answer: "To change the battery, loosen four screws",
    claim: "better",
  },
  {
    title: "English: where it does not help",
    lang: "en",
    question: "Where did the dentist move?",
    documents: `=== Notes
Boil the pasta for nine minutes. Add salt to the water. Our dentist has moved to Oak Street. Serve it with basil. Tomatoes taste best in August.
=== Teeth
The dentist looks at your teeth twice a year. The first visit takes half an hour. Brush your teeth every evening. The nurse gives you a date. Call us in the morning.`,
    answer: "Our dentist has moved to Oak Street",
    claim: "worse",
  },
  {
    title: "Deutsch: Wann ist geschlossen?",
    lang: "de",
    question: "An welchem Tag ist die Bibliothek geschlossen?",
    documents: `=== Schwimmbad
Das Schwimmbad hat drei Becken. Kinder zahlen die Hälfte. Im Winter öffnet es um zehn Uhr. Montags ist es geschlossen.
=== Museum
Das Museum zeigt Bilder aus Italien. Kinder zahlen nichts. Im Winter öffnet es um neun Uhr. Dienstags ist es geschlossen.
=== Bibliothek
Die Bibliothek hat viele Bücher und Zeitungen. Kinder zahlen einen Euro. Im Winter öffnet sie um acht Uhr. Sonntags ist sie geschlossen.`,
    answer: "Sonntags ist sie geschlossen",
    claim: "better",
  },
  {
    title: "中文：几点开门？",
    lang: "zh",
    question: "医院早上几点开门？",
    documents: `=== 咖啡馆
河边有一家咖啡馆。早上九点开门。星期一休息。这里也卖蛋糕。
=== 博物馆
市中心有一座历史博物馆。早上八点开门。星期三休息。学生不用买票。
=== 医院
学校旁边有一家医院。早上六点开门。星期五休息。医生说英语。`,
    answer: "早上六点开门",
    claim: "better",
  },
  {
    title: "العربية: كيف الطقس؟",
    lang: "ar",
    question: "كيف الطقس في القاهرة؟",
    documents: `=== القاهرة
القاهرة هي عاصمة مصر. عدد السكان عشرة ملايين. المطار بعيد عن المدينة. الطقس حار في الصيف.
=== باريس
باريس هي عاصمة فرنسا. عدد السكان مليونان. المطار قريب من المدينة. الطقس بارد في الشتاء.
=== بغداد
بغداد هي عاصمة العراق. عدد السكان ثمانية ملايين. المطار في غرب المدينة. الطقس حار جدا في الصيف.`,
    answer: "الطقس حار في الصيف",
    claim: "better",
  },
];
