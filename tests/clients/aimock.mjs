// An inference service that others wrote: aimock with OpenAI's protocol. The test says what it answers to which message.
import { LLMock } from '@copilotkit/aimock';
import { serve } from './lines.mjs';

// Strict: a message without an answer is a 503, not a made-up reply.
const mock = new LLMock({ host: '127.0.0.1', port: 0, strict: true, chunkSize: 8 });

// A question before it without an answer is in the same message, so only its last line counts.
const newest = (text) => new RegExp(`${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}[^\n]*$`);

serve({
  start: () => mock.start(),
  answer: ({ message, response, ...options }) => void mock.addFixture({ match: { userMessage: newest(message) }, response, ...options }),
  requests: () => mock.getRequests().map(({ body, response }) => ({ messages: body.messages, status: response.status })),
});
