// A page with `useChat`, as a front-end would write it: it loads the chat, shows it, and resumes the running reply.
import { useChat } from '@ai-sdk/react';
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } from 'ai-7';
import { createElement as element } from 'react';
import { createRoot } from 'react-dom/client';

const { address, token, chatId, tools } = Object.fromEntries(new URLSearchParams(location.search));
const headers = { Authorization: `Bearer ${token}` };
// The tools that the page runs, if there are any.
const body = tools ? { tools: JSON.parse(tools) } : undefined;
const transport = new DefaultChatTransport({ api: `${address}/api/chat`, headers, body });

// What the page showed before it was cut short.
let left = [];

function Page({ loaded }) {
  const { messages, status, error, sendMessage, regenerate, setMessages, addToolOutput } = useChat({
    id: chatId,
    messages: loaded,
    resume: true,
    transport,
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall: ({ toolCall: { toolName, toolCallId, input } }) =>
      void addToolOutput({ tool: toolName, toolCallId, output: `Sun in ${input.city}. ` }),
  });
  return element(
    'main',
    null,
    messages.map(({ id, role, parts }) =>
      element('p', { key: id, className: role }, parts.map(part => part.text ?? part.output ?? '').join('')),
    ),
    element('output', null, error ? error.message : status),
    element('button', { onClick: () => sendMessage({ text: 'hi there' }) }, 'Send'),
    element('button', { onClick: () => sendMessage({ text: 'changed', messageId: messages[0].id }) }, 'Edit the first'),
    element('button', { onClick: () => regenerate({ messageId: messages[1].id }) }, 'Regenerate the first'),
    element('button', { onClick: () => (left = messages) && setMessages(messages.slice(0, 2)) }, 'Cut short'),
    element('button', { onClick: () => setMessages([]) }, 'Clear'),
    element('button', { onClick: () => setMessages(left) }, 'Go back'),
    element('button', { onClick: () => setMessages([{ ...messages[0], id: 'unknown' }]) }, 'Invent'),
  );
}

const response = await fetch(`${address}/api/chat/${chatId}`, { headers });
const loaded = response.ok ? (await response.json()).messages : [];
createRoot(document.body.appendChild(document.createElement('div'))).render(element(Page, { loaded }));
