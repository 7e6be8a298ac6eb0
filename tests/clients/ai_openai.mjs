// Vercel's AI SDK on a server, with `@ai-sdk/openai` as its provider, which asks the service through /v1.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai-7';
import { z } from 'zod';
import { serve } from './lines.mjs';

const model = ({ address, token, api }) => {
  const openai = createOpenAI({ baseURL: `${address}/v1`, apiKey: token });
  return api === 'chat' ? openai.chat('tiny') : openai('tiny');
};

const weather = tool({
  description: 'Tell the weather.',
  inputSchema: z.object({ city: z.string() }),
  execute: ({ city }) => `Sun in ${city}`,
});

serve({
  text: async ({ question, system, ...where }) => {
    const { text, usage } = await generateText({ model: model(where), system, prompt: question });
    return { text, usage };
  },
  stream: async ({ question, system, ...where }) => {
    const pieces = [];
    for await (const piece of streamText({ model: model(where), system, prompt: question }).textStream) pieces.push(piece);
    return pieces;
  },
  history: async ({ messages, ...where }) => (await generateText({ model: model(where), messages })).text,
  object: async ({ question, ...where }) => {
    const output = Output.object({ schema: z.object({ name: z.string(), minutes: z.number() }) });
    return (await generateText({ model: model(where), prompt: question, output })).output;
  },
  tools: async ({ question, ...where }) => {
    const { text, steps } = await generateText({
      model: model(where),
      prompt: question,
      tools: { weather },
      stopWhen: stepCountIs(3),
    });
    return { text, steps: steps.length };
  },
});
