/* GELU and ReLU on their own, where training keeps what they are applied to, and their gradients. */
#include "model/cpu/backward.h"
#include "model/cpu/ops_cpu.h"

io_status activation_forward_cpu(model_backend *backend, model_rows out, model_rows in, model_epilogue activation, int M, int C)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    const activation_job job = {.din = out, .in = in, .activation = activation, .C = C};

#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < M; m++) kernels->activate(&job, m);
    return IO_OK;
}

io_status activation_backward_cpu(model_backend *backend, model_rows din, model_rows dout, model_rows in, model_epilogue activation, int M,
                                  int C)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    const activation_job job = {din, dout, in, activation, C};

#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < M; m++) kernels->activate_back(&job, m);
    return IO_OK;
}
