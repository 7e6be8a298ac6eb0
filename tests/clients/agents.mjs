// OpenAI's Agents SDK for JavaScript: an agent with a tool, one that hands off, and a session that is a conversation of the service.
import {
  Agent,
  handoff,
  OpenAIConversationsSession,
  OpenAIProvider,
  Runner,
  setTracingDisabled,
  tool,
} from '@openai/agents';
import OpenAI from 'openai';
import { z } from 'zod';
import { serve } from './lines.mjs';

setTracingDisabled(true);

const weather = tool({
  name: 'weather',
  description: 'Tell the weather.',
  parameters: z.object({ city: z.string() }),
  execute: ({ city }) => `Sun in ${city}`,
});

function prepare({ address, token, responses = true }) {
  const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: token });
  return { client, runner: new Runner({ modelProvider: new OpenAIProvider({ openAIClient: client, useResponses: responses }) }) };
}

serve({
  tool: async ({ question, stream, ...where }) => {
    const agent = new Agent({ name: 'Helper', instructions: 'Be brief.', model: 'tiny', tools: [weather] });
    const result = await prepare(where).runner.run(agent, question, { stream });
    let text = '';
    if (stream) {
      for await (const piece of result.toTextStream()) text += piece;
      await result.completed;
    }
    return { output: result.finalOutput, text };
  },
  handoff: async ({ question, ...where }) => {
    const cook = new Agent({
      name: 'Cook',
      instructions: 'You cook.',
      model: 'tiny',
      outputType: z.object({ name: z.string(), minutes: z.number() }),
    });
    const host = Agent.create({ name: 'Host', instructions: 'You greet.', model: 'tiny', handoffs: [handoff(cook)] });
    const result = await prepare(where).runner.run(host, question);
    return { output: result.finalOutput, last: result.lastAgent.name };
  },
  session: async ({ questions, ...where }) => {
    const { client, runner } = prepare(where);
    const session = new OpenAIConversationsSession({ client });
    const agent = new Agent({ name: 'Helper', model: 'tiny', tools: [weather] });
    const outputs = [];
    for (const question of questions) outputs.push((await runner.run(agent, question, { session })).finalOutput);
    const items = await session.getItems();
    const popped = await session.popItem();
    const left = (await session.getItems()).length;
    await session.clearSession();
    return { outputs, kinds: items.map(item => item.type ?? 'message'), popped, left };
  },
});
