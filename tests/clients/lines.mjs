// Commands from the test: one JSON object per line on standard input, one answer per line on standard output.
import { createInterface } from 'node:readline';

/** Call the handler that the command's `do` names, and print what it returns. An exception is an answer too. */
export function serve(handlers) {
  createInterface({ input: process.stdin }).on('line', async line => {
    const { do: name, ...options } = JSON.parse(line);
    let answer;
    try {
      answer = (await handlers[name](options)) ?? null;
    } catch (error) {
      answer = { thrown: String(error?.message ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  });
}
