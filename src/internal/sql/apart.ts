/**
 * Whether a service has a client of its own role. The connection of a transaction serves every client that asks for one, because
 * `@effect/sql` has one tag for all. A read on that connection would run as the writer.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import { withoutConnection } from "./owned.js"

export class Apart extends Context.Reference<Apart>()("threadline/Apart", { defaultValue: () => false }) {}

/** An effect that takes a connection of its own client, even inside a transaction, if its service is apart. */
export const onOwnClient = <A, E, R>(apart: boolean, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  apart ? withoutConnection(effect) : effect
