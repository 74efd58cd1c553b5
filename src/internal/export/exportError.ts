import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

export const TypeId: unique symbol = Symbol.for("threadline/ExportError")

export type TypeId = typeof TypeId

const Reason = Schema.Literal("OutputExists", "NoDirectory", "DiskFull", "NotWritable", "NotReadable", "Unsupported")

/**
 * Why an export cannot be written, or a file not be verified.
 *
 * - `OutputExists`: a file of that name, or of its manifest, is there already, or something that is no file
 * - `NoDirectory`: the directory of the file is not there
 * - `DiskFull`: the disk, or the quota, has no room
 * - `NotWritable`: the file cannot be written for another reason
 * - `NotReadable`: the file to verify is not there, or cannot be read
 * - `Unsupported`: this version of Node.js has no such compression
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
