/**
 * A filter as callers write it.
 */
import type { InstantInput } from "../core/instant.js"
import type { JsonObject } from "../core/jsonValue.js"
import type { Operation } from "../record/change.js"
import type { KeyInput } from "../record/key.js"

type OneOrMore<A> = A | readonly [A, ...Array<A>]

/**
 * An actor as filters name it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ActorInput {
  /** What kind of actor it is. */
  readonly type: "user" | "admin" | "service_account" | "job" | "system" | "anonymous"
  /** Every actor of the type unless given. */
  readonly id?: string | undefined
}

/**
 * A filter as callers write it. Every field is optional, and all that are given must hold.
 *
 * Ids and names have at most 256 bytes, lists at most 50 values, objects at least one field and at most 16 KiB of JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface FilterInput {
  /** Only this table, or one of several, written as in SQL: `posts` (in `public`), `public.posts` or `"Odd.Schema"."T"`. */
  readonly table?: OneOrMore<string> | undefined
  /** Only tables of this PostgreSQL schema. */
  readonly schema?: string | undefined
  /** Only this row of the one table. Such a timeline is in the order of the row's own life. */
  readonly key?: KeyInput | undefined
  /** Only this operation, or one of several. */
  readonly op?: OneOrMore<Operation> | undefined
  /** The row before or after the change has these fields with these values, nested ones too (`jsonb @>`). */
  readonly contains?: JsonObject | undefined
  /** An update changed this column, or one of several. */
  readonly changedField?: OneOrMore<string> | undefined
  /** The transaction has this actor. */
  readonly actor?: ActorInput | undefined
  /** The transaction has this impersonator: the one that really acted, in the name of its actor. */
  readonly impersonator?: ActorInput | undefined
  /** The label of the actor or of its impersonator contains this; capital letters do not matter. */
  readonly actorLabel?: string | undefined
  /** `true`: no actor is recorded. */
  readonly unattributed?: boolean | undefined
  /** The transaction has an action of this name, or of one of several. */
  readonly action?: OneOrMore<string> | undefined
  /** The transaction has an action of this status; together with `action`, the action of that name has it. */
  readonly actionStatus?: "ok" | "error" | undefined
  /** The transaction has an action that carries this id. */
  readonly correlationId?: string | undefined
  /** With `correlationId`: also transactions that carry the id and have no action. */
  readonly includeCaptureOnly?: boolean | undefined
  /** The transaction carries this id of a request. */
  readonly requestId?: string | undefined
  /** The transaction carries this id of a job. */
  readonly jobId?: string | undefined
  /** The transaction carries this id of a trace. */
  readonly traceId?: string | undefined
  /** Where the work came from, as the host named it. */
  readonly source?: string | undefined
  /** The transaction's meta has these fields with these values, nested ones too. */
  readonly meta?: JsonObject | undefined
  /** The role of the database session. */
  readonly dbUser?: string | undefined
  /** Only this transaction: decimal digits. */
  readonly transactionId?: string | undefined
  /** Captured at this instant or later. */
  readonly from?: InstantInput | undefined
  /** Captured at this instant or earlier. */
  readonly to?: InstantInput | undefined
  /** `newest` first unless given. */
  readonly order?: "newest" | "oldest" | undefined
  /** Items in a page, 1 to 1000: 50 unless given. */
  readonly limit?: number | undefined
  /** `nextCursor` of the page before, of the same filter. */
  readonly cursor?: string | undefined
}
