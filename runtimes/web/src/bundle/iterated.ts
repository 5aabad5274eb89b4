/** Streams as what can be iterated over, which not every browser lets one do with them. */

/** The pieces of a stream, or of what can be iterated over as it is. */
export function iterated(pieces: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  if (Symbol.asyncIterator in pieces) return pieces;
  return piecesOf(pieces as ReadableStream<Uint8Array>);
}

async function* piecesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
