"""The AI SDK surface: /api/chat, as Vercel's AI SDK sends and reads it."""
