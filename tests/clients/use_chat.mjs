// A page with `useChat`, as a front-end would write it: it loads the chat, shows it, and resumes the running reply.
import { useChat } from '@ai-sdk/react';
import { DefaultChatTransport } from 'ai-7';
import { createElement as element } from 'react';
import { createRoot } from 'react-dom/client';

const { address, token, chatId } = Object.fromEntries(new URLSearchParams(location.search));
const headers = { Authorization: `Bearer ${token}` };
const transport = new DefaultChatTransport({ api: `${address}/api/chat`, headers });

function Page({ loaded }) {
  const { messages, status, error, sendMessage } = useChat({ id: chatId, messages: loaded, resume: true, transport });
  return element(
    'main',
    null,
    messages.map(({ id, role, parts }) =>
      element('p', { key: id, className: role }, parts.map(part => part.text ?? '').join('')),
    ),
    element('output', null, error ? error.message : status),
    element('button', { onClick: () => sendMessage({ text: 'hi there' }) }, 'Send'),
  );
}

const response = await fetch(`${address}/api/chat/${chatId}`, { headers });
const loaded = response.ok ? (await response.json()).messages : [];
createRoot(document.body.appendChild(document.createElement('div'))).render(element(Page, { loaded }));
