// A page with assistant-ui, as a front-end would write it: its runtime, its messages, edit, reload and the branch picker.
import { ActionBarPrimitive, AssistantRuntimeProvider, BranchPickerPrimitive, ComposerPrimitive, MessagePrimitive, ThreadPrimitive } from '@assistant-ui/react';
import { AssistantChatTransport, useChatRuntime } from '@assistant-ui/react-ai-sdk';
import { createElement as element } from 'react';
import { createRoot } from 'react-dom/client';

const { address, token } = Object.fromEntries(new URLSearchParams(location.search));
const transport = new AssistantChatTransport({ api: `${address}/api/chat`, headers: { Authorization: `Bearer ${token}` } });

const Picker = () =>
  element(
    BranchPickerPrimitive.Root,
    null,
    element(BranchPickerPrimitive.Previous, null, 'Previous'),
    element(BranchPickerPrimitive.Next, null, 'Next'),
  );

const message = (button, name) => () =>
  element(
    MessagePrimitive.Root,
    null,
    element('div', { className: 'message' }, element(MessagePrimitive.Content)),
    element(ActionBarPrimitive.Root, null, element(button, null, name)),
    element(Picker),
  );

const composer = (label, button) => () =>
  element(
    ComposerPrimitive.Root,
    null,
    element(ComposerPrimitive.Input, { 'aria-label': label }),
    element(ComposerPrimitive.Send, null, button),
  );

const components = {
  UserMessage: message(ActionBarPrimitive.Edit, 'Edit'),
  AssistantMessage: message(ActionBarPrimitive.Reload, 'Reload'),
  EditComposer: composer('Edited', 'Save'),
};

function Page() {
  return element(
    AssistantRuntimeProvider,
    { runtime: useChatRuntime({ transport }) },
    element(ThreadPrimitive.Root, null, element(ThreadPrimitive.Messages, { components }), element(composer('Message', 'Send'))),
  );
}

createRoot(document.body.appendChild(document.createElement('div'))).render(element(Page));
