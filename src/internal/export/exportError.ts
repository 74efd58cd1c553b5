import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

export const TypeId: unique symbol = Symbol.for("threadline/ExportError")

export type TypeId = typeof TypeId

const Reason = Schema.Literal(
  "OutputExists",
  "NoDirectory",
  "DiskFull",
  "NotWritable",
  "NotReadable",
  "Unsupported",
  "NotInstalled",
  "TooLarge",
  "TooManyJobs",
  "WrongState",
  "Expired",
  "ScopeRefused",
  "NoStore",
  "StoreFailed",
  "LinkRefused",
  "ScheduleExists"
)

/**
 * An export could not be written, a file could not be verified, or a job could not be queued, run or downloaded.
 *
 * - `OutputExists`: there is a file of that name or of its manifest already
 * - `NoDirectory`: the directory of the file does not exist
 * - `DiskFull`: the disk is full, or the quota is used up
 * - `NotWritable`: the file cannot be written for another reason. Something that is not a file is never replaced.
 * - `NotReadable`: the file to verify does not exist or cannot be read
 * - `Unsupported`: this version of Node.js does not have the compression, or the store does not make links
 * - `NotInstalled`: the format or the store needs a package that is not installed. The detail names it.
 * - `TooLarge`: the file of a job would have more bytes than the host allows
 * - `TooManyJobs`: the actor already has as many waiting jobs as the host allows
 * - `WrongState`: the state of the job does not allow it
 * - `Expired`: the file of the job has been removed, or its time is over
 * - `ScopeRefused`: the host does not grant the scope, or no longer grants it
 * - `NoStore`: there is no `ExportStore`
 * - `StoreFailed`: the store refused or could not be reached
 * - `LinkRefused`: the link is not valid, or no longer valid
 * - `ScheduleExists`: there is already a schedule of that name
 *
 * @since 0.1.0
 * @category errors
 */
export class ExportError extends Schema.TaggedError<ExportError>("threadline.ExportError")("ExportError", {
  reason: Reason,
  /** A sentence for people. It contains no captured values. */
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  readonly [TypeId]: TypeId = TypeId
  static is(u: unknown): u is ExportError {
    return Predicate.isTagged(u, "ExportError") && Predicate.hasProperty(u, TypeId)
  }
  override get message(): string {
    return this.detail
  }
}
