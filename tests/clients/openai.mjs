// The official `openai` package for Node: call its methods by their names, and say what they return.
import OpenAI from 'openai';
import { serve } from './lines.mjs';

let client;

function call(path, ...args) {
  const names = path.split('.');
  const method = names.pop();
  return names.reduce((resource, name) => resource[name], client)[method](...args);
}

serve({
  connect: ({ baseURL, apiKey }) => {
    client = new OpenAI({ baseURL, apiKey });
  },
  call: async ({ path, args = [] }) => {
    try {
      return await call(path, ...args);
    } catch (error) {
      if (!(error instanceof OpenAI.APIError)) throw error;
      const { status, code, type, param } = error;
      return { error: error.constructor.name, status, code, type, param };
    }
  },
  // All items of all pages, or all events of a stream up to the first of the kind `until`, where the client leaves.
  all: async ({ path, args = [], until }) => {
    const found = [];
    for await (const one of await call(path, ...args)) {
      found.push(one);
      if (until !== undefined && one.type === until) break;
    }
    return found;
  },
  final: async ({ args }) => await client.responses.stream(...args).finalResponse(),
});
