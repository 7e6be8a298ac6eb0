// The package in clients/typescript, read to its end by the test's command. Its folder is the argument.
import { pathToFileURL } from 'node:url';

import { serve } from './lines.mjs';

const { ChatClient, ChatError } = await import(pathToFileURL(`${process.argv[2]}/dist/index.js`));

serve({
  async read({ url, token, conversation, content, key }) {
    const said = [];
    try {
      for await (const event of new ChatClient(url, { token }).send(conversation, content, { key })) said.push(event);
    } catch (refusal) {
      if (refusal instanceof ChatError) return { thrown: refusal.code || String(refusal.status) };
      throw refusal;
    }
    return said;
  },
});
