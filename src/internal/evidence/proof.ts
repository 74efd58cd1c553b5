/** What a proof holds. It is gathered by the public module, from the services. */
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import { InstantText } from "../core/instant.js"
import { Id } from "../core/request.js"
import { JsonObject, JsonValue } from "../core/jsonValue.js"
import { EvidenceRecord, Standing } from "./model.js"

const MaybeText = Schema.NullOr(Schema.String)

/**
 * What an auditor needs for a period. Every line names its row in the record: the id of a run, an action or a record of evidence.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Proof = Schema.Struct({
  from: InstantText,
  to: InstantText,
  madeAt: InstantText,
  /** Which parts are about the period, and which about the time of the proof, for readers who have only the document. */
  notes: Schema.Array(Schema.String),
  /** How the subjects stand when the proof is made, whatever the period is. */
  overview: Schema.Array(Standing),
  /** How each table is covered when the proof is made, with its lapses in the period. */
  coverage: Schema.Array(
    Schema.Struct({
      table: Schema.String,
      status: Schema.Literal("covered", "uncovered", "gap"),
      since: MaybeText,
      keptSince: MaybeText,
      lapses: Schema.Array(Schema.Struct({ since: MaybeText, until: MaybeText })),
      reason: MaybeText
    })
  ),
  /** What is not recorded when the proof is made. */
  redaction: Schema.Array(
    Schema.Struct({
      table: Schema.String,
      excluded: Schema.Array(Schema.String),
      masked: Schema.Array(Schema.String)
    })
  ),
  /** Runs that began in the period. */
  retentionRuns: Schema.Array(
    Schema.Struct({
      id: Id,
      kind: Schema.Literal("purge", "maintain"),
      state: Schema.String,
      startedAt: InstantText,
      finishedAt: Schema.NullOr(InstantText),
      cutoff: Schema.NullOr(InstantText),
      changes: Schema.Number,
      transactions: Schema.Number,
      actions: Schema.Number,
      /** As it was given, with its holds. */
      policy: Schema.NullOr(JsonObject),
      problem: MaybeText,
      actor: Schema.NullOr(Actor.Actor),
      dbUser: Schema.String
    })
  ),
  /** Exports, and other actions of looking, in the period. */
  looked: Schema.Array(
    Schema.Struct({
      id: Id,
      occurredAt: InstantText,
      name: Schema.String,
      status: Schema.Literal("ok", "error"),
      actor: Schema.NullOr(Actor.Actor),
      data: Schema.NullOr(JsonValue)
    })
  ),
  /** Evidence recorded in the period. */
  evidence: Schema.Array(EvidenceRecord),
  /** Lists that do not have everything: they end early, because they are too much for one document, or retention removed some. */
  incomplete: Schema.Array(Schema.String)
}).annotations({ identifier: "threadline.Evidence.Proof" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Proof extends Schema.Schema.Type<typeof Proof> {}

/** Which parts of a proof are about its period, and which are not. */
export const notes = [
  "Verdicts, the status of coverage, and redaction are those of the time when this proof was made, not of the period.",
  "A table whose capture was ended is part of coverage, and what is not captured any more is a lapse.",
  "Lapses, retention runs, exports, actions of looking, and recorded evidence are those of the period."
]
