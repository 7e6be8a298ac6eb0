// A client for the chat API service.
export { ChatClient, type ClientOptions, type Keyed, type Sending } from "./client.js";
export * from "./errors.js";
export { Reply } from "./reply.js";
export type * from "./types.js";
export type { components, operations, paths } from "./schema.js";
