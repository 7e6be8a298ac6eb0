"""What demonstration conversations are made of."""

FIRST_NAMES = ("Ada", "Bela", "Chidi", "Dana", "Elif", "Farid", "Grace", "Hana", "Ivan", "Jun", "Kavya", "Lior", "Mira", "Noor")
LAST_NAMES = ("Adler", "Banerjee", "Costa", "Diallo", "Eriksen", "Fontaine", "Garcia", "Haddad", "Ito", "Kowalski", "Okafor")
OPENINGS = ("Hi!", "Quick question:", "Hello,", "So,", "One more thing:", "I wonder,", "Please,", "Morning!")
QUESTIONS = (
    "how do I get started with {}?",
    "what is the difference between {} and the usual way?",
    "can you explain {} to a beginner?",
    "what should I watch out for with {}?",
    "is {} worth the trouble for a small team?",
    "can you write a short plan for {}?",
    "why does everybody talk about {}?",
)
SUBJECTS = (
    "sourdough",
    "training for a first marathon",
    "PostgreSQL indexes",
    "repotting orchids",
    "a budget for two",
    "learning Portuguese",
    "night trains",
    "a garden without pesticides",
    "SQL window functions",
    "job interviews",
    "teaching children chess",
    "a home network",
    "samosas from scratch",
    "reading more books",
)
ANSWERS = (
    "The short answer on {}: start small, and change one thing at a time.",
    "Most people find that {} is easier than it looks once the first week is over.",
    "Write down what you expect before you begin, or you will not notice what you learned.",
    "A good rule with {} is to spend twice as long preparing as you think you need.",
    "If it goes wrong, go back to the last step that worked and look at what changed.",
    "There are three things to know about {}: the basics, the exceptions, and when to stop.",
    "Ask somebody who has done it; they will have made your mistakes already.",
    "That said, with {} patience does more than talent.",
    "You can skip this part at first and come back to it later.",
)
