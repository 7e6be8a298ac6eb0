// examples/stream.js, read to its end by the test's command.
import { streamReply } from '../../examples/stream.js';
import { serve } from './lines.mjs';

serve({
  async read({ address, ...options }) {
    const said = [];
    for await (const part of streamReply(address, options)) said.push(part);
    return said;
  },
});
