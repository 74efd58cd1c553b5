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
 * Why an export cannot be written, a file not be verified, or a job not be queued, run or downloaded.
 *
 * - `OutputExists`: a file of that name, or of its manifest, is there already, or something that is no file
 * - `NoDirectory`: the directory of the file is not there
 * - `DiskFull`: the disk, or the quota, has no room
 * - `NotWritable`: the file cannot be written for another reason
 * - `NotReadable`: the file to verify is not there, or cannot be read
 * - `Unsupported`: this version of Node.js has no such compression, or the store no links
 * - `NotInstalled`: a package that the format or the store needs is not installed; the sentence says which one
 * - `TooLarge`: the file of a job would exceed the bytes that the host allows
 * - `TooManyJobs`: the actor has as many jobs waiting as the host allows
 * - `WrongState`: the job is not in a state in which this can be done
 * - `Expired`: the file of the job is gone, or is to go
 * - `ScopeRefused`: the host does not grant the scope (any more)
 * - `NoStore`: there is no `ExportStore`
 * - `StoreFailed`: the store refused, or could not be reached
 * - `LinkRefused`: the link to a file is not valid, or no longer
 * - `ScheduleExists`: there is a schedule of that name
 *
 * @since 0.1.0
 * @category errors
 */
export class ExportError extends Schema.TaggedError<ExportError>("threadline.ExportError")("ExportError", {
  reason: Reason,
  /** A sentence for people, without captured values. */
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
