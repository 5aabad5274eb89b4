/** Token ids into text, one by one: whole characters only, each as soon as its last byte is there. */

/** Ids in, text out. */
export interface TextStream {
  /** Whether the start of a character is held back. */
  readonly pending: boolean;
  /** The characters that this token completes, possibly none. An unknown id adds nothing. */
  push(id: number): string;
  /** What is held back, as replacement characters; the stream is then as new. */
  flush(): string;
}

const REPLACEMENT = "\ufffd";

/** UTF-8 as text, broken characters as U+FFFD; a byte order mark is a character like any other. */
export function decodeBytes(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** A TextStream for tokens that are bytes. */
export class ByteStream implements TextStream {
  private decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  private last: readonly number[] = []; // bytes: as many as may be the beginning of a character

  constructor(private readonly tokenBytes: (id: number) => Uint8Array) {}

  get pending(): boolean {
    const bytes = Uint8Array.from(this.last);
    return decodeBytes(bytes) !== new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes, { stream: true });
  }

  push(id: number): string {
    const bytes = this.tokenBytes(id);
    this.last = [...this.last, ...bytes.subarray(-3)].slice(-3);
    return this.decoder.decode(bytes, { stream: true });
  }

  flush(): string {
    const text = this.decoder.decode();
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.last = [];
    return text;
  }
}

/**
 * A TextStream for any decoder: the last token that ended on a whole character, then those since, decoded together.
 *
 * The difference to the decoded first part is new text, as in text-generation-inference's `decode_token`. At the start
 * the first part is the end of `after`, so that the first new token is not taken for the beginning of a text.
 */
export class WindowStream implements TextStream {
  private static readonly LONGEST = 16; // tokens: more than any character takes, so what is broken then is broken
  private shown: readonly number[];
  private fresh: number[] = [];

  constructor(
    private readonly decode: (ids: readonly number[]) => string,
    after: readonly number[] = [],
  ) {
    const before = after.slice(-WindowStream.LONGEST);
    this.shown = decode(before).endsWith(REPLACEMENT) ? [] : before;
  }

  get pending(): boolean {
    return this.fresh.length > 0;
  }

  push(id: number): string {
    this.fresh.push(id);
    const text = this.text();
    return text.endsWith(REPLACEMENT) && this.fresh.length < WindowStream.LONGEST ? "" : this.show(text);
  }

  flush(): string {
    const text = this.show(this.text());
    this.shown = [];
    return text;
  }

  private text(): string {
    return this.decode([...this.shown, ...this.fresh]).slice(this.decode(this.shown).length);
  }

  private show(text: string): string {
    // Without text, as special tokens are, what came before stays the context of what comes next.
    if (text !== "") this.shown = this.fresh;
    this.fresh = [];
    return text;
  }
}

/** GPT-2's 256 visible characters for bytes: `bytes_to_unicode` of https://github.com/openai/gpt-2, inverted. */
export const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = byteOfCharacter();

function byteOfCharacter(): Map<string, number> {
  const isVisible = (byte: number): boolean =>
    (byte >= 0x21 && byte < 0x7f) || (byte >= 0xa1 && byte < 0xad) || byte >= 0xae;
  const all = Array.from({ length: 256 }, (_, byte) => byte);
  const others = all.filter((byte) => !isVisible(byte));
  return new Map([
    ...all.filter(isVisible).map((byte) => [String.fromCharCode(byte), byte] as const),
    ...others.map((byte, n) => [String.fromCharCode(256 + n), byte] as const),
  ]);
}
