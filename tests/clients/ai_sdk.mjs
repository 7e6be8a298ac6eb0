// Chats of Vercel's AI SDK, as `useChat` makes them, each in a page of its own, told what to do by the test. Argument: the package.
import { serve } from './lines.mjs';

const { AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } = await import(process.argv[2]);

/** What `useChat` keeps in React's state. */
class State {
  status = 'ready';
  error = undefined;
  messages = [];
  pushMessage = message => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) =>
    (this.messages = [...this.messages.slice(0, index), this.snapshot(message), ...this.messages.slice(index + 1)]);
  snapshot = value => structuredClone(value);
}

class Chat extends AbstractChat {}

/** Wait until the chat satisfies a condition. */
async function until(condition) {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 10));
}

const textOf = message => (message?.parts ?? []).filter(part => part.type === 'text').map(part => part.text).join('');

/** The documented way to send only the last message. */
const prepareSendMessagesRequest = ({ id, messages, trigger, messageId, headers, body }) => ({
  headers,
  body: { ...body, id, message: messages.at(-1), trigger, messageId },
});

/** Open a page with a chat, and return what a test can tell it to do. It runs the tools that have an output in `outputs`. */
function openPage({ address, token, chatId, sends, tools, outputs = {} }) {
  const headers = { Authorization: `Bearer ${token}` };
  const state = new State();
  const chat = new Chat({
    id: chatId,
    state,
    transport: new DefaultChatTransport({
      api: `${address}/api/chat`,
      headers,
      ...(tools ? { body: { tools } } : {}),
      fetch: (...request) => send(...request),
      ...(sends === 'last' ? { prepareSendMessagesRequest } : {}),
    }),
    ...(tools ? { sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls } : {}),
    onToolCall: ({ toolCall: { toolName, toolCallId } }) => {
      if (toolName in outputs) void addOutput({ tool: toolName, toolCallId, output: outputs[toolName] });
    },
  });
  // Its name in newer versions.
  const addOutput = result => (chat.addToolOutput ?? chat.addToolResult)(result);
  let send = fetch;
  let lost = 0;
  let running;

  function look() {
    return {
      status: chat.status,
      error: chat.error?.message ?? null,
      messages: chat.messages.map(({ id, role, parts, metadata }) => ({
        id,
        role,
        parts: parts.map(({ type, text, state, toolCallId, input, output, errorText }) =>
          ({ type, text, state, toolCallId, input, output, errorText })),
        metadata: metadata ?? null,
      })),
    };
  }

  return {
    look,
    /** Load the chat, as a page does when it opens. */
    load: async () => {
      const response = await send(`${address}/api/chat/${chatId}`, { headers });
      if (!response.ok) throw new Error(await response.text());
      chat.messages = (await response.json()).messages;
      return look();
    },
    /** Show other messages, as `setMessages` does. */
    show: ({ messages }) => {
      chat.messages = messages;
    },
    /** Begin to send, edit, regenerate or resume. `finish` waits for its end. */
    begin: ({ method, options }) => {
      running = method === 'sendMessage' ? chat.sendMessage(...options) : chat[method](...options);
      running.catch(() => undefined);
    },
    finish: async () => {
      await running;
      return look();
    },
    /** Wait until this is the end of the last message's text. */
    until: async ({ text }) => {
      await until(() => textOf(chat.messages.at(-1)).endsWith(text) || chat.status === 'error');
      return look();
    },
    /** Wait until the chat is ready and its last message ends with this text. */
    settled: async ({ text }) => {
      await until(() => (chat.status === 'ready' && textOf(chat.messages.at(-1)).endsWith(text)) || chat.status === 'error');
      return look();
    },
    /** Wait until the chat is ready and this many calls have come. */
    waiting: async ({ calls }) => {
      const count = () => (chat.messages.at(-1)?.parts ?? []).filter(part => part.toolCallId).length;
      await until(() => (chat.status === 'ready' && count() === calls) || chat.status === 'error');
      return look();
    },
    /** Write the output of a call into its part, as a page does that asks the user first. */
    answer: async ({ result }) => {
      await addOutput(result);
    },
    /** Abort the request, as the SDK's `stop` does. */
    abort: async () => {
      await chat.stop();
      await running;
      return look();
    },
    /** Send the next POST twice, as a browser or a proxy does when the first answer got lost. */
    repeat: () => {
      send = async (url, init) => {
        if (init?.method !== 'POST') return fetch(url, init);
        send = fetch;
        const first = await fetch(url, init);
        lost += 1;
        await first.body.cancel();
        return fetch(url, init);
      };
    },
    /** Lose the next POST before it reaches the service. */
    lose: () => {
      send = async () => {
        send = fetch;
        throw new TypeError('fetch failed');
      };
    },
    lost: () => lost,
    /** Abort what the page is reading, as a browser does when the page is closed. */
    leave: () => void chat.stop(),
  };
}

const pages = [];

serve({
  open: options => pages.push(openPage(options)) - 1,
  tell: ({ page, command, ...options }) => pages[page][command](options),
  /** Close all pages. */
  close: () => {
    for (const page of pages.splice(0)) page.leave();
  },
});
