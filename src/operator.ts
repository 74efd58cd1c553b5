/**
 * The operator surface, an entry point of its own: it needs the optional packages `preact` and `preact-render-to-string`.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as OperatorSurface from "./OperatorSurface.js"
