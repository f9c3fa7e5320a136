/* CUDA graphs: a captured stream adds nodes that know which ones they come after. A launched graph runs them in the order of capture, or,
 * with CUDAHOST_ORDER, in another one that this allows, so that a dependency which was not captured shows. */
#include <algorithm>

#include "tests/cudahost/runtime.h"

struct CUgraph_st {
    struct node {
        cudahost::work item;
        std::vector<int> after;
    };
    std::vector<node> nodes;
    cudaStream_t origin = nullptr;
};
struct CUgraphExec_st {
    CUgraph_st graph;
};

namespace cudahost
{
bool is_capturing(cudaStream_t stream)
{
    return std::find(all_streams().begin(), all_streams().end(), stream) != all_streams().end() && stream->graph;
}

void demand_no_capture(const char *what)
{
    for (cudaStream_t stream : all_streams())
        if (stream->graph) fatal("%s while a stream is being captured", what);
}

void capture_item(cudaStream_t stream, work item)
{
    stream->graph->nodes.push_back({std::move(item), stream->frontier});
    stream->frontier = {(int)stream->graph->nodes.size() - 1};
}

void capture_record(cudaStream_t stream, cudaEvent_t event)
{
    event->graph = stream->graph;
    event->frontier = stream->frontier;
}

/* A stream that waits for an event of a capture becomes part of it. */
void capture_wait(cudaStream_t stream, cudaEvent_t event)
{
    if (!event->graph) fatal("a stream that is being captured waits for an event that is not of the capture");
    if (stream->graph && stream->graph != event->graph) fatal("two captures cannot wait for each other");
    stream->graph = event->graph;
    stream->frontier.insert(stream->frontier.end(), event->frontier.begin(), event->frontier.end());
}

/* Marks what has run before a node may. */
static void mark(const CUgraph_st &graph, const std::vector<int> &nodes, std::vector<bool> &is_before)
{
    for (int node : nodes) {
        if (is_before[node]) continue;
        is_before[node] = true;
        mark(graph, graph.nodes[node].after, is_before);
    }
}

static void demand_joined(const CUgraph_st &graph)
{
    std::vector<bool> is_before(graph.nodes.size());

    mark(graph, graph.origin->frontier, is_before);
    for (size_t i = 0; i < is_before.size(); i++)
        if (!is_before[i]) fatal("the capture ends while a stream that joined it has work that the first stream does not wait for");
}

/* The nodes whose turn may come now. */
static std::vector<int> find_ready(const CUgraph_st &graph, const std::vector<bool> &has_run)
{
    std::vector<int> ready;

    for (size_t i = 0; i < graph.nodes.size(); i++) {
        const std::vector<int> &after = graph.nodes[i].after;
        if (!has_run[i] && std::all_of(after.begin(), after.end(), [&](int j) { return has_run[j]; })) ready.push_back((int)i);
    }
    return ready;
}

static void run_graph(const CUgraph_st &graph)
{
    std::vector<bool> has_run(graph.nodes.size());

    for (size_t n = 0; n < graph.nodes.size(); n++) {
        size_t next = n;
        if (options().how != order::forward) {
            const std::vector<int> ready = find_ready(graph, has_run);
            next = options().how == order::reverse ? ready.back() : ready[random_numbers()() % ready.size()];
        }
        graph.nodes[next].item();
        has_run[next] = true;
    }
}
} // namespace cudahost

using namespace cudahost;

extern "C" {
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (std::find(all_streams().begin(), all_streams().end(), stream) == all_streams().end() || stream->graph)
        return failed(cudaErrorStreamCaptureUnsupported);
    stream->graph = new CUgraph_st;
    stream->graph->origin = stream;
    stream->frontier.clear();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    CUgraph_st *graph = is_capturing(stream) ? stream->graph : nullptr;

    *out = nullptr;
    if (!graph || graph->origin != stream) return failed(cudaErrorStreamCaptureUnmatched);
    demand_joined(*graph);
    for (cudaStream_t each : all_streams())
        if (each->graph == graph) each->graph = nullptr;
    *out = graph;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    *out = new CUgraphExec_st{*graph};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    enqueue(stream, [=] { run_graph(executable->graph); });
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    drain_all();
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
}
