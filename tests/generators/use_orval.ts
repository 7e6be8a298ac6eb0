// Calls with the client that orval generates: a conversation, a reply, the list.
import { createConversation, listConversations, sendMessage } from "./client";

declare const process: { argv: string[] };
const headers = { Authorization: `Bearer ${process.argv[3]}` };

async function main(): Promise<void> {
  const made = await createConversation({ title: "Tea" }, { headers });
  if (made.status !== 201) {
    throw new Error(made.data.detail);
  }
  const reply = await sendMessage(made.data.id, { content: "hello", stream: false }, undefined, { headers });
  const listed = await listConversations(undefined, { headers });
  if (reply.status !== 200 || listed.status !== 200) {
    throw new Error("a call failed");
  }
  console.log(JSON.stringify({ titles: listed.data.items.map((each) => each.title), reply: reply.data }));
}

void main();
