// Calls with the client that @hey-api/openapi-ts generates: a conversation, a reply, its stream.
import { createConversation, followReply, listConversations, sendMessage, type StreamEvent } from "./client";
import { client } from "./client/client.gen";

declare const process: { argv: string[] };
const [baseUrl, auth] = process.argv.slice(2);

async function main(): Promise<void> {
  client.setConfig({ baseUrl, auth });
  const made = await createConversation({ body: { title: "Tea" }, throwOnError: true });
  const path = { conversation_id: made.data.id };
  const reply = await sendMessage({ path, body: { content: "hello", stream: false }, throwOnError: true });
  const listed = await listConversations({ throwOnError: true });
  if (!reply.data) {
    throw new Error("a whole reply was asked for");
  }
  const { stream } = await followReply({ path: { ...path, message_id: reply.data.id } });
  const events: StreamEvent[] = [];
  for await (const event of stream as AsyncIterable<StreamEvent>) {
    events.push(event);
  }
  const text = events.map((event) => ("token" in event ? event.token : "")).join("");
  console.log(JSON.stringify({ titles: listed.data.items.map((each) => each.title), content: reply.data.content, text }));
}

void main();
