// node run_ort.mjs MODEL.onnx PIXELS.bin EXPECTED.bin
// Runs an exported model in ONNX Runtime and compares its answers, the first of the largest outputs, with those wanted.
//   PIXELS.bin    uint8 [n, C, H, W]
//   EXPECTED.bin  int32 [n, classes], logits; or int32 [n], the answers themselves
// Exit code 0; 1 when more than 10 of 10,000 answers differ, not counting images with equal best logits; 77 when
// NIBBLE_ORT_NODE does not name an installed onnxruntime-node.
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';

const kBatch = 100;
const kAllowed = 10 / 10000;

function argmax(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

function readInt32(path) {
  const bytes = readFileSync(path);
  if (bytes.length % 4 !== 0) throw new Error(`${path}: ${bytes.length} bytes, expected int32`);
  return Int32Array.from({length: bytes.length / 4}, (_, i) => bytes.readInt32LE(4 * i));
}

function rows(values, count, path) {
  const width = values.length / count;
  if (width < 1 || !Number.isInteger(width)) throw new Error(`${path}: ${values.length} values for ${count} images`);
  return Array.from({length: count}, (_, i) => values.subarray(i * width, (i + 1) * width));
}

async function main(ort, [modelPath, pixelsPath, expectedPath]) {
  // Without VNNI, the default products of unsigned and signed bytes saturate at 16 bits.
  const session = await ort.InferenceSession.create(modelPath, {extra: {session: {x64quantprecision: '1'}}});
  const input = session.inputMetadata?.[0];
  if (input === undefined)
    throw new Error('this onnxruntime-node does not tell the shape of inputs; try 1.22 or newer');
  const image = input.shape.slice(1);
  const size = image.reduce((a, b) => a * b, 1);

  const pixels = readFileSync(pixelsPath);
  const count = pixels.length / size;
  if (count < 1 || !Number.isInteger(count))
    throw new Error(`${pixelsPath}: ${pixels.length} bytes, expected images of ${image.join('x')}`);
  const expected = rows(readInt32(expectedPath), count, expectedPath);

  let differ = 0, equalBest = 0;
  for (let first = 0; first < count; first += kBatch) {
    const n = Math.min(kBatch, count - first);
    const batch = Float32Array.from(pixels.subarray(first * size, (first + n) * size));
    const results = await session.run({[input.name]: new ort.Tensor('float32', batch, [n, ...image])});
    const outputs = rows(results[session.outputNames[0]].data, n, modelPath);
    outputs.forEach((output, i) => {
      const logits = expected[first + i];
      const answer = argmax(output), wanted = logits.length === 1 ? logits[0] : argmax(logits);
      if (answer === wanted) return;
      ++differ;
      if (logits.length > 1 && logits[answer] === logits[wanted]) ++equalBest;
    });
  }
  console.log(`${count} images, ${differ} answers differ, ${equalBest} of them with equal best logits`);
  return differ - equalBest > Math.ceil(count * kAllowed) ? 1 : 0;
}

if (!process.env.NIBBLE_ORT_NODE) {
  console.log('skipped: NIBBLE_ORT_NODE does not name an installed onnxruntime-node');
  process.exit(77);
}
if (process.argv.length !== 5) {
  console.error('usage: node run_ort.mjs MODEL.onnx PIXELS.bin EXPECTED.bin');
  process.exit(2);
}
try {
  // A path, or the name of a module that is installed in the current folder.
  const ort = createRequire(`${process.cwd()}/`)(process.env.NIBBLE_ORT_NODE);
  process.exitCode = await main(ort, process.argv.slice(2));
} catch (error) {
  console.error(`run_ort: ${error.message.split('\n')[0]}`);
  process.exitCode = 1;
}
