// The types of openapi-typescript say what each stream sends.
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
type Streamed<Path extends keyof paths, Method extends keyof paths[Path]> = paths[Path][Method] extends {
  responses: { 200: { content: { "text/event-stream": infer Event } } };
}
  ? Event
  : never;

const token: Streamed<"/api/conversations/{conversation_id}/messages", "post"> = { token: "hello" };
const thought: Streamed<"/api/conversations/{conversation_id}/messages/{message_id}/stream", "get"> = { reasoning: "Hm" };
const piece: Streamed<"/api/chat", "post"> = { type: "text-delta", id: "0", delta: "hello" };
const delta: Streamed<"/v1/responses", "post"> = {
  type: "response.reasoning_text.delta",
  sequence_number: 902,
  item_id: "rs_1",
  output_index: 0,
  content_index: 0,
  delta: "Hm",
};
const choice = { index: 0, delta: { content: "hello" }, logprobs: null, finish_reason: null };
const chunk: Streamed<"/v1/chat/completions", "post"> = {
  id: "chatcmpl-1",
  object: "chat.completion.chunk",
  created: 0,
  model: "default",
  choices: [choice],
};
// @ts-expect-error There is no such event.
const wrong: Schemas["OpenAIResponseStreamEvent"] = { type: "response.unknown", sequence_number: 1 };

console.log(token, thought, piece, delta, chunk, wrong);
