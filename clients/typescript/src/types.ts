// Names for what the OpenAPI file describes. `schema.ts` is made from it.
import type { components } from "./schema.js";

type Schemas = components["schemas"];

export type Conversation = Schemas["Conversation"];
export type Message = Schemas["Message"];
export type SearchHit = Schemas["Hit"];
export type CreateFields = Partial<Schemas["ConversationCreateRequest"]>;
export type ChangeFields = Schemas["PatchedConversationPatchRequest"];
/** `temperature`, `max_tokens`, `when_busy`, … */
export type ReplyOptions = Partial<Schemas["SamplingRequest"]>;
export type Done = Schemas["DoneEvent"];
export type Failure = Schemas["ErrorEvent"];
/** The first reply came to nothing, and another one begins: what was said so far does not count. */
export interface Restarted {
  restarted: true;
}
export type ReplyEvent = Schemas["TokenEvent"] | Schemas["ReasoningEvent"] | Failure | Done | Restarted;
